//! Opening arbitrary bytes, as each kind.

use super::input::FuzzInput;
use super::scene::{Case, FuzzScene, change, look};
use crate::coffer::{Coffer, Mode};
use crate::ops::identify::identify;

/// `kind, how, the file`.
pub fn open(data: &[u8]) {
    let mut input = FuzzInput::new(data);
    let case = Case::of(input.byte());
    let how = input.byte();
    let scene = FuzzScene::new();
    let path = scene.path("any.coffer");
    std::fs::write(&path, input.rest()).unwrap();
    identify(&path).unwrap();
    let options = |mode| {
        let mut options = case.options(mode);
        options.accept_file_cipher = how & 1 != 0;
        options
    };
    let Ok(coffer) = Coffer::open(&path, options(Mode::Read)) else {
        // Who writes must not see more in it than who reads.
        let written = Coffer::open(&path, options(Mode::Append));
        assert!(written.is_err(), "opens for writing alone");
        return;
    };
    let seen = look(&coffer, &scene);
    coffer.close().unwrap();
    if how & 2 != 0 {
        change(&options, &scene, &path, &seen, how & 4 != 0);
    }
}

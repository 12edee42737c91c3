//! The kinds of coffer: named pairs of layers.

pub use crate::crypto::seal::Cipher;

/// What is done to bytes on their way in: compress, then seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// The zstd level, or `None` where bytes pass as they are. A container always compresses.
    pub level: Option<i32>,
    /// The cipher, or `None` where nothing is sealed.
    pub cipher: Option<Cipher>,
}

/// The name of a kind. The numbers are what a file's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum KindName {
    /// Layers of the caller's choice.
    Custom = 0,
    /// Confidential records, sealed twice.
    Bank = 1,
    /// Archives, fast and small.
    Store = 2,
    /// Archives of big files.
    Market = 3,
    /// Nothing sealed: for tests.
    Null = 4,
}

impl KindName {
    /// The kind with this number.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Custom, Self::Bank, Self::Store, Self::Market, Self::Null]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }

    /// The name in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Custom => "custom",
            Self::Bank => "bank",
            Self::Store => "store",
            Self::Market => "market",
            Self::Null => "null",
        }
    }
}

/// A kind: what its members and its container go through, and whether each change is flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its name.
    pub name: KindName,
    /// What a member's bytes go through before they enter the tar.
    pub member: Layer,
    /// What the tar goes through.
    pub container: Layer,
    /// Whether a change is flushed before its call returns, unless the caller says otherwise.
    pub auto_flush: bool,
}

/// The fastest level: for a layer that sees bytes already compressed, where only tar headers
/// still shrink.
const FASTEST: i32 = 1;
/// zstd's own default.
const DEFAULT: i32 = 3;
/// The members' level in a Store and a Market. PyCoffer uses 12, which takes twice the time for a
/// result that is 2.5% smaller.
const SMALL: i32 = 9;
/// Bytes of a member in a full piece: the least that is decoded of a large member.
const PIECE: u32 = 1 << 20;
/// The same, from level [`SMALL`] up.
const LARGE_PIECE: u32 = 4 << 20;

const fn layer(level: Option<i32>, cipher: Option<Cipher>) -> Layer {
    Layer { level, cipher }
}

impl Kind {
    /// Members: zstd 3 and secretbox; container: zstd 1 and the given cipher (Fernet, or AES-OCB).
    #[must_use]
    pub const fn bank(cipher: Cipher) -> Self {
        Self {
            name: KindName::Bank,
            member: layer(Some(DEFAULT), Some(Cipher::Secretbox)),
            container: layer(Some(FASTEST), Some(cipher)),
            auto_flush: true,
        }
    }

    /// Members: zstd 9; container: zstd 1 and secretbox.
    #[must_use]
    pub const fn store() -> Self {
        Self {
            name: KindName::Store,
            member: layer(Some(SMALL), None),
            container: layer(Some(FASTEST), Some(Cipher::Secretbox)),
            auto_flush: false,
        }
    }

    /// Members: zstd 9 and secretbox; container: zstd 1, not sealed.
    #[must_use]
    pub const fn market() -> Self {
        Self {
            name: KindName::Market,
            member: layer(Some(SMALL), Some(Cipher::Secretbox)),
            container: layer(Some(FASTEST), None),
            auto_flush: false,
        }
    }

    /// Members: as they are; container: zstd 3, not sealed.
    #[must_use]
    pub const fn null() -> Self {
        Self {
            name: KindName::Null,
            member: layer(None, None),
            container: layer(Some(DEFAULT), None),
            auto_flush: false,
        }
    }

    /// Layers of the caller's choice.
    #[must_use]
    pub const fn custom(member: Layer, container: Layer) -> Self {
        Self { name: KindName::Custom, member, container, auto_flush: true }
    }

    /// Whether a layer is sealed, so that there is something for a key to do.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        self.container.cipher.is_some() || self.member.cipher.is_some()
    }

    /// Whether the member layer leaves bytes as they are, so that the container compresses them.
    #[must_use]
    pub const fn members_are_plain(&self) -> bool {
        self.member.level.is_none() && self.member.cipher.is_none()
    }

    /// How many bytes of a member a new coffer has in a block: more where the level is high, since
    /// zstd finds what repeats within a block only.
    #[must_use]
    pub const fn piece_size(&self) -> u32 {
        match self.member.level {
            Some(level) if level >= SMALL => LARGE_PIECE,
            _ => PIECE,
        }
    }

    /// The zstd level that members are compressed with, in whichever layer does it: a layer that does
    /// not compress stays one, since that is what the coffer is.
    #[must_use]
    pub fn with_level(mut self, level: i32) -> Self {
        if self.member.level.is_none() {
            self.container.level = Some(level);
        } else {
            self.member.level = Some(level);
        }
        self
    }
}

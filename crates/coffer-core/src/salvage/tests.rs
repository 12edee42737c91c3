#[allow(unused)]mod t{}

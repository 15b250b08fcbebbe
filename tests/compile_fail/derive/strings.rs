//! `String`, and other text.
use std::path::PathBuf;
use strewn::Persist;

#[derive(Persist)]
struct Names {
    given: String,
    path: Option<PathBuf>,
    title: std::borrow::Cow<'static, u8>,
}

fn main() {}

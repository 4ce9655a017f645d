//! The guests that are not written in Rust. They are made by a script, once, because that takes tools of their languages.

use std::path::PathBuf;

/// The path of `javascript.wasm` or `python.wasm`. Where they have not been made the test is skipped with a word on how to get them, or
/// fails if `PIPELINE_TEST_REQUIRE_ENGINES` says that everything must be there.
pub fn foreign(language: &str, test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PIPELINE_TEST_GUESTS").map(|folder| PathBuf::from(folder).join(format!("{language}.wasm")));
    if let Some(path) = path.filter(|path| path.is_file()) {
        return Some(path);
    }
    let why = format!(
        "{test} needs the {language} guest: make it with `tests/guests/foreign FOLDER`, and set PIPELINE_TEST_GUESTS=FOLDER to its full path"
    );
    assert!(std::env::var_os("PIPELINE_TEST_REQUIRE_ENGINES").is_none(), "{why}");
    crate::skipped(&why);
    None
}

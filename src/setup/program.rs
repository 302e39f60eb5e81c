//! The path for an entry that still starts this program after an upgrade.

use std::path::{Path, PathBuf};

use crate::settings::machine::Start;

/// The path that stays valid after an upgrade: package managers keep a symlink with a fixed name to the folder of the
/// current version. So: a link on `path` to this file, else the path that the process was called by, else the file.
pub fn lasting(start: &Start, path: &[PathBuf], is_same: impl Fn(&Path, &Path) -> bool) -> PathBuf {
    let name = start.file.file_name().unwrap_or_default();
    let on_path = path.iter().filter(|folder| folder.is_absolute()).map(|folder| folder.join(name));
    let called = start.called.as_ref().filter(|called| called.components().count() > 1);
    let called = called.map(|called| start.folder.join(called).components().collect());
    on_path.chain(called).find(|candidate| is_same(candidate, &start.file)).unwrap_or_else(|| start.file.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_outlives_the_version_is_preferred() {
        let start = |called: &str| Start {
            called: Some(called.into()),
            file: "/brew/Cellar/finmcp/0.1.0/bin/finmcp".into(),
            folder: "/books".into(),
        };
        let path = ["/usr/bin", "relative", "/brew/bin"].map(PathBuf::from);
        let cases = [
            ("finmcp", "/brew/bin/finmcp", "/brew/bin/finmcp"),
            ("/brew/Cellar/finmcp/0.1.0/bin/finmcp", "/brew/bin/finmcp", "/brew/bin/finmcp"),
            ("bin/finmcp", "/books/bin/finmcp", "/books/bin/finmcp"),
            ("./finmcp", "/books/finmcp", "/books/finmcp"),
            ("finmcp", "/nowhere", "/brew/Cellar/finmcp/0.1.0/bin/finmcp"),
        ];
        for (called, same, expected) in cases {
            let found = lasting(&start(called), &path, |candidate, _| candidate == Path::new(same));
            assert_eq!(found, Path::new(expected), "{called}");
        }
    }
}

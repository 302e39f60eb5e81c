//! By which path this program is started again, next month too.

use std::path::{Path, PathBuf};

use crate::settings::machine::Start;

/// The path that stays valid when a new version is installed: package managers put a link of a fixed name before a folder
/// of each version. So a link on `path` that leads to this very file, else the path that it was called by, else the file.
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

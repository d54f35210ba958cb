//! Which files are meant: names as they are, patterns where the shell did not expand them. All of them must be there
//! before the first is sent: a misspelt one is better told before than after an hour.

use crate::{Fault, exit, side};
use std::path::{Path, PathBuf};

/// One input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Stdin,
    File(PathBuf),
}

impl Input {
    /// What it is called when something is said of it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// The inputs that `files` mean, each once, in their order; those of one pattern by name.
pub(crate) fn expand(files: &[PathBuf]) -> Result<Vec<Input>, Fault> {
    let mut inputs: Vec<Input> = Vec::new();
    let mut add = |input: Input| {
        if !inputs.contains(&input) {
            inputs.push(input);
        }
    };
    for file in files {
        if file.as_os_str() == "-" {
            add(Input::Stdin);
        } else if file.exists() || !is_pattern(file) {
            add(Input::File(readable(file)?));
        } else {
            for path in matches(file)? {
                add(Input::File(readable(&path)?));
            }
        }
    }
    Ok(inputs)
}

fn is_pattern(file: &Path) -> bool {
    file.to_string_lossy().contains(['*', '?', '['])
}

/// The files that match. Our own state files and side files are none of them: a pattern such as `logs/*` is to send the logs,
/// also the second time.
fn matches(pattern: &Path) -> Result<Vec<PathBuf>, Fault> {
    let text = pattern.to_string_lossy();
    let wrong = |what: String| Fault::new(exit::USAGE, format!("{text}: {what}"));
    let found = glob::glob(&text).map_err(|error| wrong(error.to_string()))?;
    let paths: Vec<PathBuf> = found
        .filter_map(Result::ok)
        .filter(|path| path.is_file() && !is_ours(path))
        .collect();
    match paths.is_empty() {
        true => Err(Fault::new(exit::NO_INPUT, format!("{text}: no file matches"))),
        false => Ok(paths),
    }
}

fn is_ours(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.contains(crate::state::SUFFIX) || name.contains(crate::side::SUFFIX)
}

fn readable(file: &Path) -> Result<PathBuf, Fault> {
    let name = file.display().to_string();
    let opened = std::fs::File::open(file).and_then(|opened| opened.metadata());
    match opened {
        Ok(metadata) if metadata.is_dir() => Err(Fault::new(
            exit::NO_INPUT,
            format!("{name} is a folder; '{name}/*' means the files in it"),
        )),
        Ok(_) => Ok(file.to_owned()),
        Err(error) => Err(Fault::new(
            exit::NO_INPUT,
            format!("{name} cannot be read: {error}"),
        )),
    }
}

/// A path without detours, also of a file that is not there yet.
fn real(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = || std::fs::canonicalize(folder.unwrap_or(Path::new(".")));
    let new = || Some(folder().ok()?.join(path.file_name()?));
    std::fs::canonicalize(path)
        .ok()
        .or_else(new)
        .unwrap_or_else(|| path.to_owned())
}

/// The files that are written must not take the place of anything else.
pub(crate) fn check_own(
    input: Option<&Path>,
    state: Option<&Path>,
    side: Option<&Path>,
) -> Result<(), Fault> {
    let all = [("the input", input), ("--state", state), ("--refused", side)];
    let all: Vec<_> = all
        .into_iter()
        .filter_map(|(name, path)| path.map(|path| (name, path)))
        .collect();
    for (at, (name, path)) in all.iter().enumerate() {
        if let Some((other, _)) = all.iter().take(at).find(|(_, other)| real(other) == real(path)) {
            let text = format!("{other} and {name} are the same file, {}", path.display());
            return Err(Fault::new(exit::USAGE, text));
        }
        if *name != "the input" && std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(Fault::new(
                exit::USAGE,
                format!("{name}: {} is no file", path.display()),
            ));
        }
    }
    match side {
        Some(side) if !side::may_be_written(side).map_err(|error| Fault::writing(side, &error))? => {
            let text = format!(
                "{} is there, and no file of refused rows: --refused names another",
                side.display()
            );
            Err(Fault::new(exit::USAGE, text))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_its_files_by_name_without_our_own_and_each_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["b.csv", "a.csv", "a.csv.send-state", "a.csv.refused.csv", "c.txt"] {
            std::fs::write(path(name), "x").unwrap();
        }
        let found = expand(&[path("b.csv"), path("*.csv"), path("[c].txt"), PathBuf::from("-")]).unwrap();
        let expected = ["b.csv", "a.csv", "c.txt"].map(|name| Input::File(path(name)));
        assert_eq!(found, [expected.as_slice(), &[Input::Stdin]].concat());
        for (missing, code) in [
            ("nothing.csv", exit::NO_INPUT),
            ("*.xml", exit::NO_INPUT),
            ("***", exit::USAGE),
        ] {
            assert_eq!(expand(&[path(missing)]).unwrap_err().code, code, "{missing}");
        }
        assert_eq!(
            expand(&[folder.path().to_owned()]).unwrap_err().code,
            exit::NO_INPUT
        );
    }

    #[test]
    fn a_file_whose_name_looks_like_a_pattern_is_that_file() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("a[1].csv");
        std::fs::write(&odd, "x").unwrap();
        assert_eq!(expand(std::slice::from_ref(&odd)).unwrap(), [Input::File(odd)]);
    }
}

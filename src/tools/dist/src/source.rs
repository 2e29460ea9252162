//! The commit from which the module is built.

use std::{env, path::Path};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::output;

/// The commit, as far as known.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Source {
    /// Its name. `None` outside a clone, or with uncommitted changes.
    pub revision: Option<String>,
    /// Its time, or `SOURCE_DATE_EPOCH`, in seconds since 1970.
    pub seconds: Option<i64>,
}

impl Source {
    /// The commit of this folder according to git. Missing information is reported on standard
    /// error.
    pub fn of(folder: &Path) -> Result<Self, String> {
        let source = Self::committed(folder).unwrap_or_else(|why| {
            eprintln!("note: {why}: what is made names no commit");
            Self::default()
        });
        source.at(env::var("SOURCE_DATE_EPOCH").ok().as_deref())
    }

    /// With the time of `SOURCE_DATE_EPOCH`, if set.
    fn at(self, given: Option<&str>) -> Result<Self, String> {
        let Some(given) = given else { return Ok(self) };
        let seconds = given.parse().map_err(|_| {
            format!("SOURCE_DATE_EPOCH is {given:?}; it is a number of seconds since 1970")
        })?;
        Ok(Self { seconds: Some(seconds), ..self })
    }

    fn committed(folder: &Path) -> Result<Self, String> {
        let folder = folder.to_string_lossy();
        let git = |arguments: &[&str]| output("git", &[&["-C", &folder], arguments].concat());
        let above =
            git(&["rev-parse", "--show-cdup"]).map_err(|_| "this folder is no clone".to_owned())?;
        // A source package unpacked inside another project's clone.
        if !above.is_empty() {
            return Err("this folder is a part of another clone".to_owned());
        }
        if !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty() {
            return Err("files have been changed since the last commit".to_owned());
        }
        let revision = git(&["rev-parse", "HEAD"])?;
        let seconds = git(&["log", "-1", "--format=%ct"])?.parse().ok();
        Ok(Self { revision: Some(revision), seconds })
    }

    /// The time in the format of RFC 3339.
    pub(crate) fn time(&self) -> Option<String> {
        OffsetDateTime::from_unix_timestamp(self.seconds?).ok()?.format(&Rfc3339).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_given_takes_the_place_of_the_one_of_the_commit() {
        let commit = Source { revision: Some("1f0e".to_owned()), seconds: Some(1) };
        assert_eq!(commit.clone().at(None).unwrap().time().unwrap(), "1970-01-01T00:00:01Z");
        let given = commit.clone().at(Some("1762300800")).unwrap();
        assert_eq!(given.time().unwrap(), "2025-11-05T00:00:00Z");
        assert_eq!(given.revision, commit.revision);
        let told = commit.at(Some("yesterday")).unwrap_err();
        assert!(told.contains("seconds since 1970"), "{told}");
    }
}

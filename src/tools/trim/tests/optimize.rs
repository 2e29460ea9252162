//! What `optimize.sh` makes of a module, with a Node.js and an npm that only pretend; and when make
//! insists on it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Installs what is asked for, unless it is away.
const NPM: &str = r#"
[ -z "${NPM_IS_AWAY-}" ] || exit 1
while [ "$1" != --prefix ]; do shift; done
mkdir -p "$2/node_modules/binaryen"
echo "{\"version\": \"${3#binaryen@}\"}" >"$2/node_modules/binaryen/package.json"
"#;

/// Writes what it is made of, unless it is too old for that.
const NODE: &str = r#"
[ "$1" != --version ] || { echo v0; exit; }
[ -z "${NODE_IS_OLD-}" ] || exit 1
while [ "$2" != --output ]; do shift; done
echo "optimized $(cat "$1") $MARK" >"$3"
"#;

/// A place with a module, and its optimizer.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        // Its name has a space, as people's folders do.
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("optimize {name}"));
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(place.join("bin")).unwrap();
        for (program, text) in [("npm", NPM), ("node", NODE)] {
            let path = place.join("bin").join(program);
            fs::write(&path, format!("#!/bin/sh{text}")).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(place.join("in"), "module").unwrap();
        for script in ["optimize.sh", "npm.sh"] {
            fs::copy(Path::new("..").join(script), place.join(script)).unwrap();
        }
        Self(place)
    }

    /// Runs the script with these variables.
    fn run(&self, variables: &[(&str, &str)]) -> Output {
        let path = format!("{}:{}", self.0.join("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        command.args(["optimize.sh", "in", "out", "a folder"]).current_dir(&self.0);
        command.env("PATH", path).env_remove("OPTIMIZE").envs(variables.iter().copied());
        command.output().unwrap()
    }

    /// What comes out of it.
    fn made(&self, variables: &[(&str, &str)]) -> String {
        let output = self.run(variables);
        assert!(output.status.success(), "{output:?}");
        fs::read_to_string(self.0.join("out")).unwrap().trim().to_owned()
    }
}

#[test]
fn the_same_is_made_once_and_anew_when_anything_has_changed() {
    let place = Place::new("anew");
    let text = |text| [("MARK", text)];
    assert_eq!(place.made(&text("1")), "optimized module 1");
    assert_eq!(place.made(&text("2")), "optimized module 1");
    fs::write(place.0.join("out"), "another").unwrap();
    assert_eq!(place.made(&text("3")), "optimized module 3");
    fs::write(place.0.join("in"), "changed").unwrap();
    assert_eq!(place.made(&text("4")), "optimized changed 4");
    // Another version of wasm-opt, or other options.
    for (from, to) in [("\nversion=", "\nversion=9"), (" -Oz ", " -O4 ")] {
        let script = fs::read_to_string(place.0.join("optimize.sh")).unwrap();
        assert!(script.contains(from));
        fs::write(place.0.join("optimize.sh"), script.replace(from, to)).unwrap();
        assert_eq!(place.made(&text(to.trim())), format!("optimized changed {}", to.trim()));
    }
}

#[test]
fn where_it_does_not_run_the_module_stays_as_it_is_unless_it_is_to_be_released() {
    for variable in ["NPM_IS_AWAY", "NODE_IS_OLD"] {
        let place = Place::new(variable);
        assert_eq!(place.made(&[(variable, "1")]), "module");
        assert!(!place.run(&[(variable, "1"), ("OPTIMIZE", "required")]).status.success());
    }
    // Nothing that an earlier run has left passes for its result.
    let place = Place::new("later");
    place.made(&[]);
    assert!(place.0.join("a folder/out.wasm").exists());
    fs::write(place.0.join("in"), "changed").unwrap();
    assert_eq!(place.made(&[("NODE_IS_OLD", "1")]), "changed");
    assert!(!place.0.join("a folder/out.wasm").exists());
}

#[test]
fn what_is_released_is_optimized_whatever_is_made_before_it() {
    for (goals, required) in
        [(&["build", "image"][..], true), (&["dist"], true), (&["test"], false)]
    {
        let mut make = Command::new("make");
        make.args(["--dry-run", "--question", "--print-data-base", "--directory", "../../.."]);
        make.args(goals).env_remove("OPTIMIZE").env_remove("MAKEFLAGS");
        let known = String::from_utf8(make.output().unwrap().stdout).unwrap();
        assert_eq!(known.contains("\nOPTIMIZE = required\n"), required, "{goals:?}");
        assert!(known.contains("\n.NOTPARALLEL:"));
    }
}

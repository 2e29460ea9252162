//! A shell session on a page: commands behind `$ `, and what they print.

/// A command, and what the page shows below it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Step {
    /// The line within the block.
    pub line: usize,
    /// What is typed, lines that end with a backslash with those after them.
    pub command: String,
    /// The lines below.
    pub shown: String,
}

/// The steps of a session.
pub fn steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    let mut goes_on = false;
    for (line, text) in text.lines().enumerate() {
        if let Some(command) = text.strip_prefix("$ ") {
            steps.push(Step { line, command: command.to_owned(), shown: String::new() });
            goes_on = command.ends_with('\\');
            continue;
        }
        let step = steps.last_mut().ok_or("a session begins with `$ `")?;
        if goes_on {
            step.command.push('\n');
            step.command.push_str(text);
            goes_on = text.ends_with('\\');
        } else {
            step.shown.push_str(text);
            step.shown.push('\n');
        }
    }
    Ok(steps)
}

/// `envoy`, as it is started on a page.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EnvoyCommand {
    /// The variables before it.
    pub environment: Vec<(String, String)>,
    /// `--config-path`.
    pub file: String,
    /// `--log-level`.
    pub log_level: Option<String>,
    /// `--component-log-level`.
    pub component_log_level: Option<String>,
    /// `--mode validate`: it only looks at the configuration.
    pub validates: bool,
}

impl EnvoyCommand {
    /// Reads a command; `None` for one that is not Envoy's.
    pub fn read(command: &str) -> Option<Result<Self, String>> {
        let mut words = command.split_whitespace().filter(|word| *word != "\\").peekable();
        let mut read = Self::default();
        while let Some((name, value)) = words.peek().and_then(|word| assignment(word)) {
            read.environment.push((name.to_owned(), value.to_owned()));
            words.next();
        }
        let is_envoy = words.next().is_some_and(|word| word == "envoy");
        is_envoy.then(|| read.with_arguments(words))
    }

    fn with_arguments<'a>(
        mut self,
        mut words: impl Iterator<Item = &'a str>,
    ) -> Result<Self, String> {
        while let Some(option) = words.next() {
            let mut value =
                || words.next().map(str::to_owned).ok_or_else(|| format!("{option}: no value"));
            match option {
                "--config-path" => self.file = value()?,
                "--log-level" => self.log_level = Some(value()?),
                "--component-log-level" => self.component_log_level = Some(value()?),
                "--mode" if value()? == "validate" => self.validates = true,
                _ => return Err(format!("{option}: not known to the guides' harness")),
            }
        }
        if self.file.is_empty() { Err("no --config-path".to_owned()) } else { Ok(self) }
    }
}

/// `NAME=value`, as it stands before a command.
fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    (!name.is_empty() && name.chars().all(is_name) && !value.contains('$')).then_some((name, value))
}

#[test]
fn a_session_is_commands_and_what_they_print() {
    let step = |line, command: &str, shown: &str| Step {
        line,
        command: command.to_owned(),
        shown: shown.to_owned(),
    };
    let expected = [step(0, "a \\\n  b \\\n  c", ""), step(3, "d", "e\n\n"), step(6, "f", "")];
    assert_eq!(steps("$ a \\\n  b \\\n  c\n$ d\ne\n\n$ f\n"), Ok(expected.to_vec()));
    steps("a\n").unwrap_err();
}

#[test]
fn envoy_is_known_by_its_name_and_options() {
    let read = EnvoyCommand::read("A_1=b envoy --config-path f.yaml --log-level debug");
    let expected = EnvoyCommand {
        environment: vec![("A_1".to_owned(), "b".to_owned())],
        file: "f.yaml".to_owned(),
        log_level: Some("debug".to_owned()),
        ..EnvoyCommand::default()
    };
    assert_eq!(read, Some(Ok(expected)));
    assert_eq!(EnvoyCommand::read("A=b curl envoy"), None);
    assert_eq!(EnvoyCommand::read("T=$(envoy)"), None);
    EnvoyCommand::read("envoy --config-path f.yaml --drain 1").unwrap().unwrap_err();
    EnvoyCommand::read("envoy").unwrap().unwrap_err();
}

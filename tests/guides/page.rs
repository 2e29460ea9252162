//! What a page of Markdown has in fences.

/// A fenced block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Block {
    /// The line of the page on which its text begins.
    pub line: usize,
    /// The first word behind the fence.
    pub language: String,
    /// The words after it.
    pub words: Vec<String>,
    /// Its lines, without the indentation of the fence.
    pub text: String,
    /// Why it is not run, where the comment before it says so.
    pub not_run: Option<String>,
}

/// The blocks of a page, in order.
pub fn blocks(page: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut before = "";
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix(FENCE) else {
            if !line.trim().is_empty() {
                before = line.trim();
            }
            continue;
        };
        let indentation = line.len() - line.trim_start().len();
        let mut text = String::new();
        loop {
            let (_, line) = lines.next().ok_or_else(|| format!("line {}: no end", number + 1))?;
            if line.trim() == FENCE {
                break;
            }
            text.push_str(line.get(indentation..).unwrap_or_default());
            text.push('\n');
        }
        let mut words = info.split_whitespace().map(str::to_owned);
        let language = words.next().ok_or_else(|| format!("line {}: no language", number + 1))?;
        let words = words.collect();
        let not_run = before.strip_prefix("<!-- not run: ").and_then(|b| b.strip_suffix(" -->"));
        let not_run = not_run.map(str::to_owned);
        before = FENCE;
        blocks.push(Block { line: number + 2, language, words, text, not_run });
    }
    Ok(blocks)
}

const FENCE: &str = "```";

#[test]
fn a_page_has_blocks_with_what_is_said_of_them() {
    let page = "a\n```json x.yaml y\n{}\n```\n- b\n\n  <!-- not run: no -->\n\n  ```text\n  c\n   d\n  ```\n";
    let block = |line, language: &str, words: &[&str], text: &str, not_run: Option<&str>| Block {
        line,
        language: language.to_owned(),
        words: words.iter().copied().map(str::to_owned).collect(),
        text: text.to_owned(),
        not_run: not_run.map(str::to_owned),
    };
    let expected = [
        block(3, "json", &["x.yaml", "y"], "{}\n", None),
        block(10, "text", &[], "c\n d\n", Some("no")),
    ];
    assert_eq!(blocks(page), Ok(expected.to_vec()));
    assert_eq!(blocks("```json\n{}\n"), Err("line 1: no end".to_owned()));
    assert_eq!(blocks("```\n```\n"), Err("line 1: no language".to_owned()));
}

//! Links lead to what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::pages::CONTRIBUTING;
use crate::{files_below, root};

/// Every page that people follow links in.
fn pages() -> Vec<PathBuf> {
    let mut pages = files_below(&root().join("docs"), "md");
    let others = [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "tests/STANDARDS.md",
        "tests/THREATS.md",
    ];
    pages.extend(others.map(|page| root().join(page)));
    pages
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let mut followed = 0;
    let mut dead = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        for link in links(&text) {
            if link.starts_with("https://") {
                continue;
            }
            followed += 1;
            if !is_there(&page, link) {
                dead.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(followed > 100, "{followed}");
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn every_page_of_docs_is_found_from_its_index() {
    let mut found: BTreeSet<PathBuf> = BTreeSet::new();
    let mut indexes = vec![root().join("docs/README.md").canonicalize().expect("the index")];
    while let Some(index) = indexes.pop() {
        let text = fs::read_to_string(&index).expect("an index");
        for page in links(&text).filter_map(|link| target(&index, link)) {
            // A folder has an index of its own, which is followed.
            let is_new = found.insert(page.clone());
            if is_new && page.ends_with("README.md") && page.starts_with(root().join("docs")) {
                indexes.push(page);
            }
        }
    }
    for page in files_below(&root().join("docs"), "md") {
        let page = page.canonicalize().expect("a page");
        assert!(found.contains(&page) || page.ends_with("docs/README.md"), "{}", page.display());
    }
}

#[test]
fn every_file_and_folder_that_the_guide_for_changes_names_is_there() {
    let code = CONTRIBUTING.text.split('`').skip(1).step_by(2);
    let is_path = |code: &&str| {
        let begins = ["src/", "tests/", "docs/"].iter().any(|folder| code.starts_with(folder));
        begins && !code.contains(' ')
    };
    let missing: Vec<_> = code.filter(is_path).filter(|path| !root().join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn links_and_headings_are_read_as_they_are_shown() {
    let text = "# A `b_c` (d): e\n```\n# none\n[x](y)\n```\n## Twice\n## Twice\n[a](b.md) `[n](o)` \
                [`c`](#d), ![p](q.png)\n";
    assert_eq!(links(text).collect::<Vec<_>>(), ["b.md", "#d", "q.png"]);
    assert_eq!(anchors(text).into_iter().collect::<Vec<_>>(), ["a-b_c-d-e", "twice", "twice-1"]);
    let page = root().join("README.md");
    for (link, there) in [
        ("README.md", true),
        ("docs", true),
        ("docs/none.md", false),
        ("#status-and-limits", true),
        ("#none", false),
        ("docs/reference.md#configuration", true),
        ("docs/reference.md#none", false),
    ] {
        assert_eq!(is_there(&page, link), there, "{link}");
    }
}

/// Whether a page's link leads to something.
fn is_there(page: &Path, link: &str) -> bool {
    let Some(target) = target(page, link) else { return false };
    let Some((_, anchor)) = link.split_once('#') else { return true };
    // A line of code has no heading.
    fs::read_to_string(target).is_ok_and(|text| anchors(&text).contains(anchor))
}

/// The file that a page's link names, if it is there.
fn target(page: &Path, link: &str) -> Option<PathBuf> {
    match link.split('#').next().expect("a part") {
        "" => page.canonicalize().ok(),
        file => page.parent().expect("a folder").join(file).canonicalize().ok(),
    }
}

/// The targets of all links in a text, but those in code.
fn links(text: &str) -> impl Iterator<Item = &str> {
    prose(text).flat_map(|line| {
        let mut found = Vec::new();
        for (at, _) in line.match_indices("](") {
            // Within code, the signs of code around it are not in pairs.
            let is_code = line[..at].matches('`').count() % 2 == 1;
            let target = line[at + 2..].split(')').next().expect("a part");
            if !is_code {
                found.push(target);
            }
        }
        found
    })
}

/// The lines of a text that are not code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// What links call the headings of a page, as GitHub makes it of them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let slug: String = heading
            .trim_start_matches('#')
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .collect();
        let slug = slug.replace(' ', "-");
        let times = seen.entry(slug.clone()).or_default();
        *times += 1;
        if *times == 1 { slug } else { format!("{slug}-{}", *times - 1) }
    };
    headings.map(anchor).collect()
}

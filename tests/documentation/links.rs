//! Relative links and their anchors, as GitHub makes anchors of headings; and the runbook of each alert.

use crate::page::{pages, prose, read, root};
use std::path::Path;

/// The anchors of a page's headings.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        is_code ^= line.trim_start().starts_with("```");
        let level = line.chars().take_while(|letter| *letter == '#').count();
        let Some(title) = line.get(level..).and_then(|rest| rest.strip_prefix(' ')) else {
            continue;
        };
        if is_code || !(1..=6).contains(&level) {
            continue;
        }
        let kept = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
        let anchor: String = title.chars().filter(kept).collect();
        let anchor = anchor.to_lowercase().replace(' ', "-");
        let repeated = |number: usize| match number {
            0 => anchor.clone(),
            _ => format!("{anchor}-{number}"),
        };
        let free = (0..).map(repeated).find(|name| !anchors.contains(name));
        anchors.extend(free);
    }
    anchors
}

/// What is wrong with a link in a file of this folder.
fn fault(folder: &Path, page: &Path, target: &str) -> Option<String> {
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target, None),
    };
    let file = match path {
        "" => page.to_owned(),
        _ => folder.join(path),
    };
    if !file.exists() {
        return Some(format!("{}: no file {path}", page.display()));
    }
    let known = |anchor: &str| anchors(&read(&file)).iter().any(|known| known == anchor);
    match anchor {
        Some(anchor) if !known(anchor) => Some(format!("{}: no heading for {target}", page.display())),
        _ => None,
    }
}

/// The targets of `[…](target)`, `src="target"` and `srcset="target"`.
fn targets(prose: &str) -> Vec<&str> {
    let ends = [("](", ')'), ("src=\"", '"'), ("srcset=\"", '"')];
    let all = ends.iter().flat_map(|(start, end)| {
        let after = prose.split(start).skip(1);
        after.filter_map(|rest| rest.split_once(*end).map(|(target, _)| target))
    });
    all.collect()
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let mut faults = Vec::new();
    let mut links = 0;
    for page in pages() {
        let folder = page.parent().expect("a folder");
        for target in targets(&prose(&read(&page))) {
            if !target.contains("://") {
                links += 1;
                faults.extend(fault(folder, &page, target));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(links > 200, "{links} links were found");
}

#[test]
fn every_alert_has_a_runbook() {
    let rules = root().join("dashboards/rules.yaml");
    let rules: serde_json::Value = serde_yaml_ng::from_str(&read(&rules)).expect("YAML");
    let groups = rules["groups"].as_array().expect("groups");
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("rules"));
    let alerts: Vec<_> = rules.filter(|rule| rule["alert"].is_string()).collect();
    assert!(alerts.len() >= 6, "{alerts:?}");
    for alert in alerts {
        let url = alert["annotations"]["runbook_url"].as_str();
        let url = url.unwrap_or_else(|| panic!("{}: no runbook_url", alert["alert"]));
        assert!(url.contains('#'), "{url} has no anchor");
        assert_eq!(fault(root(), &root().join("dashboards/rules.yaml"), url), None);
    }
}

#[test]
fn anchors_are_made_as_github_makes_them() {
    let text = "# A `b`: c, d's\n```\n# no\n```\n## Same\n### Same\n#no\n## x_y-z & more\n";
    assert_eq!(anchors(text), ["a-b-c-ds", "same", "same-1", "x_y-z--more"]);
}

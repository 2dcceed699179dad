use super::*;

/// The text of a page's code blocks.
fn blocks(page: &str) -> Vec<String> {
    let fenced = page.split("```").skip(1).step_by(2);
    fenced
        .map(|block| block.split_once('\n').expect("a language").1.to_owned())
        .collect()
}

#[test]
fn every_migration_page_shows_the_commands_real_output() {
    for (from, extension) in [
        ("drf", "py"),
        ("django-ratelimit", "py"),
        ("envoy-ratelimit", "yaml"),
    ] {
        let page = format!("{}/../../docs/migrate-{from}.md", env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(page).expect("a page");
        let [before, after] = blocks(&page).try_into().expect("before and after");
        let file = format!("{}/{from}.{extension}", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(&file, before).expect("a file");
        let shown = good(&["import", from, &file], "");
        assert_eq!(
            shown.replace(&file, &format!("{from}.{extension}")),
            after,
            "{from}"
        );
        assert_eq!(errors(&after), [], "{from}");
    }
}

#[test]
fn every_page_on_moving_by_hand_ends_in_a_policy_without_errors() {
    for from in ["local-ratelimit", "kong", "higress"] {
        let page = format!("{}/../../docs/migrate-{from}.md", env!("CARGO_MANIFEST_DIR"));
        let blocks = blocks(&std::fs::read_to_string(page).expect("a page"));
        let after: Vec<_> = blocks.iter().skip(1).step_by(2).collect();
        assert!(!after.is_empty(), "{from}");
        for policy in after {
            assert_eq!(errors(policy), [], "{from}");
        }
    }
}

#[test]
fn a_file_without_limits_is_no_policy() {
    for from in ["drf", "django-ratelimit", "envoy-ratelimit"] {
        assert_eq!(
            headgate(&["import", from, "-"], "x = 1").status.code(),
            Some(2),
            "{from}"
        );
    }
}

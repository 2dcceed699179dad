use super::*;

fn hash(key: Option<&str>, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    command
        .env_remove("HEADGATE_HASH_KEY")
        .arg("hash")
        .args(arguments);
    if let Some(key) = key {
        command.env("HEADGATE_HASH_KEY", key);
    }
    run(&mut command, input)
}

#[test]
fn a_hash_is_the_filters_with_and_without_a_key() {
    // RFC 4231, test case 2.
    let keyed = hash(Some("Jefe"), &["what do ya want for nothing?"], "");
    assert_eq!(stdout(&keyed), "5bdcc146bf60754e6a042426089575c7\n");
    assert_eq!(stderr(&keyed), "");
    let plain = hash(None, &["test"], "");
    assert_eq!(stdout(&plain), "9f86d081884c7d659a2feaa0c55ad015\n");
    assert!(stderr(&plain).contains("HEADGATE_HASH_KEY is not set"));
}

#[test]
fn standard_input_loses_its_line_end_and_is_never_shown() {
    for input in ["test", "test\n", "test\r\n"] {
        let output = hash(None, &["-"], input);
        assert_eq!(stdout(&output), "9f86d081884c7d659a2feaa0c55ad015\n", "{input:?}");
        assert!(!stderr(&output).contains("test"));
    }
    assert_eq!(hash(None, &["-"], "\n").status.code(), Some(2));
}

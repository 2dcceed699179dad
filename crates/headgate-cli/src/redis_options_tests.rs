use super::*;
use clap::Parser as _;

#[derive(clap::Parser)]
struct CommandLine {
    #[command(flatten)]
    options: RedisOptions,
}

fn read(line: &str) -> Result<Option<Redis>, String> {
    let words = std::iter::once("x").chain(line.split_whitespace());
    let line = CommandLine::try_parse_from(words).map_err(|error| error.to_string())?;
    line.options.read().map_err(|Failure(message)| message)
}

fn hosts(line: &str) -> Vec<(String, u16)> {
    read(line).unwrap().unwrap().hosts
}

#[test]
fn a_url_gives_host_and_port() {
    assert_eq!(read(""), Ok(None));
    for (url, host, port) in [
        ("redis://r", "r", 6379),
        ("redis://r.example.com:7001/", "r.example.com", 7001),
        ("redis://10.0.0.1:7001/0", "10.0.0.1", 7001),
        ("redis://[2001:db8::1]:7001", "2001:db8::1", 7001),
        ("redis://[::1]", "::1", 6379),
        ("REDIS://r", "r", 6379),
    ] {
        assert_eq!(
            hosts(&format!("--redis {url}")),
            [(host.to_owned(), port)],
            "{url}"
        );
    }
    let nodes = [("a".to_owned(), 1), ("b".to_owned(), 6379)];
    assert_eq!(hosts("--cluster --redis redis://a:1,redis://b"), nodes);
    assert_eq!(hosts("--cluster --redis redis://a:1 --redis redis://b"), nodes);
}

#[test]
fn what_envoy_cannot_do_is_refused_with_a_remedy() {
    for (line, words) in [
        ("--redis r:6379", "write redis://HOST:PORT"),
        ("--redis http://r", "http:// is not known"),
        ("--redis redis://r:port", "\"port\" is not a port"),
        ("--redis redis://r:0", "\"0\" is not a port"),
        ("--redis redis://r:70000", "\"70000\" is not a port"),
        ("--redis redis://", "is not a host"),
        ("--redis redis://a{b", "is not a host"),
        ("--redis redis://r/3", "database 0 only"),
        ("--redis redis://r?x=1", "no parameters"),
        ("--redis redis://a,redis://b", "add --cluster"),
        ("--cluster --redis redis://a,rediss://b", "one of them for all"),
        ("--redis redis://u@r", "--redis-password-env NAME"),
        ("--redis redis://r --redis-user u", "--redis-password-env NAME"),
        ("--redis rediss://r", "--ca FILE"),
        ("--redis redis://r --ca ca.pem", "write --redis rediss://"),
        (
            "--redis redis://r --redis-server-name n",
            "write --redis rediss://",
        ),
        (
            "--redis redis://r --redis-password-env a-b",
            "not the name of a variable",
        ),
        ("--ca ca.pem", "--redis"),
    ] {
        let error = read(line).unwrap_err();
        assert!(error.contains(words), "{line}: {error}");
    }
}

#[test]
fn a_password_in_the_url_is_refused_and_not_shown() {
    for url in [
        "redis://u:s3cret@r",
        "redis://:s3cret@r:1",
        "rediss://u:s3/cret?@r",
        "redis://u:p@s3cret@r",
    ] {
        let error = read(&format!("--redis {url}")).unwrap_err();
        assert!(
            error.contains("--redis-password-file PATH") && !error.contains("cret"),
            "{error}"
        );
    }
    let error = read("--redis redis://r --redis-password-env s3cret!").unwrap_err();
    assert!(!error.contains("s3cret"), "{error}");
}

#[test]
fn user_password_and_authority_are_read() {
    let redis = read("--redis rediss://us%40er@r --redis-password-env PW --ca /ca.pem")
        .unwrap()
        .unwrap();
    assert_eq!(redis.user.as_deref(), Some("us@er"));
    assert_eq!(redis.password, Some(Password::Env("PW".to_owned())));
    let names = vec!["r".to_owned()];
    assert_eq!(
        redis.tls,
        Some(Tls {
            ca: "/ca.pem".to_owned(),
            names
        })
    );
    let line =
        "--redis rediss://10.0.0.1 --redis-user u --redis-password-file /pw --ca c --redis-server-name n";
    let redis = read(line).unwrap().unwrap();
    assert_eq!(redis.user.as_deref(), Some("u"));
    assert_eq!(redis.password, Some(Password::File("/pw".to_owned())));
    assert_eq!(redis.tls.map(|tls| tls.names), Some(vec!["n".to_owned()]));
}

//! Each field of `match` by itself, then together, as a list and negated.

use crate::identify::FakeRequest;
use crate::limit::fixtures::*;
use crate::limit::{HostPattern, KeyPart, Limit, Match, PathPattern, Plan, Planner, ValuePattern};

fn path(template: &str) -> Match {
    Match {
        path: Some(PathPattern::template(template).unwrap()),
        ..Match::default()
    }
}

fn methods(methods: &[&str]) -> Match {
    Match {
        methods: methods.iter().map(|m| m.to_string()).collect(),
        ..Match::default()
    }
}

fn host(pattern: &str) -> Match {
    Match {
        hosts: vec![HostPattern::parse(pattern).unwrap()],
        ..Match::default()
    }
}

fn value(name: &str, pattern: ValuePattern) -> Match {
    Match {
        headers: vec![(name.into(), pattern)],
        ..Match::default()
    }
}

fn not(inner: Match) -> Match {
    Match {
        not: Some(Box::new(inner)),
        ..Match::default()
    }
}

fn sources(names: &[&str]) -> Match {
    Match {
        sources: names.iter().map(|s| s.to_string()).collect(),
        ..Match::default()
    }
}

fn planner_with(matches: Vec<Match>, exempt: Vec<Match>) -> Planner {
    let limit = Limit {
        matches,
        ..limit("l", &[KeyPart::Address])
    };
    let mut policy = policy(vec![header("x-api-key"), address(32, 64)], vec![limit]);
    policy.exempt = exempt;
    Planner::new(&policy, crate::identify::Hasher::new(None))
}

fn holds(matches: &[Match], request: &FakeRequest) -> bool {
    !counted(&planner_with(matches.to_vec(), vec![]), request)
        .0
        .is_empty()
}

fn request(method: &str, target: &str) -> FakeRequest {
    FakeRequest::new(
        "10.0.0.1",
        &[
            (":method", method),
            (":path", target),
            (":authority", "api.example.com:8443"),
        ],
    )
}

#[test]
fn each_field_decides() {
    let mut login = request("POST", "/login?x=1").with(&[("x-app", "web"), ("x-api-key", "k")]);
    login.route = Some(b"login".to_vec());
    let route = |name: &str| Match {
        route: Some(name.into()),
        ..Match::default()
    };
    let exact = |text| ValuePattern::exact(text).unwrap();
    let regex = |text| ValuePattern::regex(text).unwrap();
    for (condition, expected) in [
        (Match::default(), true),
        (methods(&["GET", "POST"]), true),
        (methods(&["GET"]), false),
        (path("/login"), true),
        (path("/*"), true),
        (path("/logout"), false),
        (host("api.example.com"), true),
        (host("*.example.com"), true),
        (host("*.example.org"), false),
        (value("x-app", exact("web")), true),
        (value("x-app", exact("app")), false),
        (value("x-app", exact("*")), true),
        (value("x-app", regex("w.b")), true),
        (value("x-app", regex("w")), false),
        (value("x-none", exact("*")), false),
        (route("login"), true),
        (route("logout"), false),
        (sources(&["api_key"]), true),
        (sources(&["api_key", "address"]), true),
        (sources(&["address"]), false),
        (not(path("/logout")), true),
        (not(path("/login")), false),
        (not(not(path("/login"))), true),
    ] {
        assert_eq!(
            holds(std::slice::from_ref(&condition), &login),
            expected,
            "{condition:?}"
        );
    }
}

#[test]
fn all_fields_of_one_and_any_of_a_list_must_fit() {
    let post_login = Match {
        methods: vec!["POST".into()],
        ..path("/login")
    };
    let both = [post_login.clone(), path("/*/login")];
    assert!(holds(&both, &request("POST", "/login")));
    assert!(!holds(&both, &request("GET", "/login")));
    assert!(holds(&both, &request("GET", "/v1/login")));
    assert!(!holds(&both, &request("POST", "/logout")));
    let get_or_not_login = Match {
        not: Some(Box::new(post_login)),
        ..Match::default()
    };
    assert!(
        holds(std::slice::from_ref(&get_or_not_login), &request("GET", "/login")),
        "not is all its fields"
    );
}

#[test]
fn no_other_spelling_of_a_path_slips_past() {
    let plain = request("GET", "/login");
    for target in [
        "/login/",
        "//login",
        "/%6cogin",
        "/./login",
        "/a/../login",
        "/login?x",
        "/login#x",
        "/LOGIN/../login",
    ] {
        let spelled = request("GET", target);
        assert!(holds(&[path("/login")], &spelled), "{target}");
        let planner = planner(
            vec![address(32, 64)],
            vec![limit("p", &[KeyPart::Path, KeyPart::Client])],
        );
        assert_eq!(counted(&planner, &spelled), counted(&planner, &plain), "{target}");
    }
    for target in ["/%2flogin", "/Login", "/login/x", "/login%20"] {
        assert!(!holds(&[path("/login")], &request("GET", target)), "{target}");
    }
}

#[test]
fn a_header_that_comes_twice_is_present_and_has_no_value() {
    let twice = request("GET", "/").with(&[("x-app", "web"), ("x-app", "web")]);
    assert!(holds(
        &[value("x-app", ValuePattern::exact("*").unwrap())],
        &twice
    ));
    assert!(!holds(
        &[value("x-app", ValuePattern::exact("web").unwrap())],
        &twice
    ));
    assert!(!holds(
        &[value("x-app", ValuePattern::regex(".*").unwrap())],
        &twice
    ));
}

#[test]
fn what_is_exempt_is_not_counted() {
    let preflight = Match {
        headers: vec![(
            "access-control-request-method".into(),
            ValuePattern::exact("*").unwrap(),
        )],
        ..methods(&["OPTIONS"])
    };
    let planner = planner_with(vec![], vec![path("/healthz"), preflight, sources(&["api_key"])]);
    let plan = |request: FakeRequest| {
        let client = planner.identify(&request);
        planner.plan(&request, client.as_ref())
    };
    let preflight = request("OPTIONS", "/").with(&[("access-control-request-method", "GET")]);
    for exempt in [
        request("GET", "/healthz/"),
        preflight,
        request("GET", "/").with(&[("x-api-key", "k")]),
    ] {
        assert_eq!(plan(exempt), Plan::Exempt);
    }
    assert_ne!(plan(request("GET", "/healthz/x")), Plan::Exempt);
    assert_ne!(plan(request("OPTIONS", "/")), Plan::Exempt);
}

#[test]
fn without_a_client_no_source_fits_and_not_lets_in() {
    let nobody = FakeRequest::default();
    assert!(!holds(&[sources(&["api_key", "address"])], &nobody));
    assert!(holds(&[not(sources(&["api_key", "address"]))], &nobody));
}

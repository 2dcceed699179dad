//! Each field of `match` by itself, then together, as a list and negated.

use crate::identify::FakeRequest;
use crate::limit::fixtures::*;
use crate::limit::{Case, HostPattern, KeyPart, Limit, Match, PathPattern, Plan, Planner, ValuePattern};

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
fn a_limit_applies_to_each_spelling_of_its_path() {
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
    for target in ["/%2flogin", "/Login", "/login;x", "/x\\..\\login", "/login%0a"] {
        assert!(holds(&[path("/login")], &request("GET", target)), "{target}");
    }
    for target in ["/login/x", "/login%20"] {
        assert!(!holds(&[path("/login")], &request("GET", target)), "{target}");
    }
}

#[test]
fn case_is_ignored_where_it_makes_a_limit_apply() {
    let exactly = Match {
        case: Case::Exact,
        ..path("/login")
    };
    let upper = request("GET", "/LOGIN");
    assert!(holds(&[path("/login")], &upper));
    assert!(!holds(&[exactly], &upper));
    assert!(
        holds(&[not(path("/login"))], &upper),
        "not frees the very path alone"
    );
    assert!(holds(&[not(not(path("/login")))], &upper));
    let is_exempt = |exempt: Match, request: &FakeRequest| {
        let planner = planner_with(vec![], vec![exempt]);
        planner.plan(request, &planner.identify(request)) == Plan::Exempt
    };
    assert!(is_exempt(path("/login"), &request("GET", "/login")));
    assert!(!is_exempt(path("/login"), &upper));
    let but_admin = Match {
        not: Some(Box::new(path("/a/admin"))),
        ..path("/a/**")
    };
    assert!(is_exempt(but_admin.clone(), &request("GET", "/a/b")));
    assert!(
        !is_exempt(but_admin, &request("GET", "/a/ADMIN")),
        "no spelling of it is free"
    );
}

#[test]
fn methods_are_compared_in_upper_case_and_head_is_get() {
    let condition = |method| [methods(&[method])];
    for (limited, sent, expected) in [
        ("POST", "post", true),
        ("POST", "Post", true),
        ("POST", " POST\t", true),
        ("GET", "HEAD", true),
        ("GET", "head", true),
        ("HEAD", "GET", false),
        ("GET", "POST", false),
    ] {
        assert_eq!(
            holds(&condition(limited), &request(sent, "/")),
            expected,
            "{limited} {sent}"
        );
    }
    assert!(
        holds(&[not(methods(&["GET"]))], &request("HEAD", "/")),
        "not frees GET alone"
    );
    assert!(!holds(&[not(methods(&["HEAD"]))], &request("HEAD", "/")));
    let planner = planner_with(vec![], vec![methods(&["GET"])]);
    let plan = |method| {
        let request = request(method, "/");
        planner.plan(&request, &planner.identify(&request))
    };
    assert_eq!(plan("get"), Plan::Exempt);
    assert_ne!(
        plan("HEAD"),
        Plan::Exempt,
        "an exemption of GET does not free HEAD"
    );
}

#[test]
fn exempt_frees_only_what_every_reading_fits() {
    let planner = planner_with(vec![], vec![path("/static/**"), path("/assets/**")]);
    let is_exempt = |target| {
        let request = request("GET", target);
        planner.plan(&request, &planner.identify(&request)) == Plan::Exempt
    };
    for target in [
        "/static/a.txt",
        "/static//a.txt",
        "/static/a%20b",
        "/static/a;x",
        "/assets/../static/a",
    ] {
        assert!(is_exempt(target), "{target}");
    }
    for target in [
        "/users/../static/a",
        "/static/..%2fusers",
        "/static/..;/users",
        "/static/\\..\\..\\x",
        "/STATIC/a",
    ] {
        assert!(!is_exempt(target), "{target}");
    }
}

#[test]
fn a_limit_replaces_others_only_in_every_reading() {
    let login = Limit {
        matches: vec![Match {
            methods: vec!["GET".into()],
            ..path("/login")
        }],
        replaces: vec![1],
        ..limit("login", &[KeyPart::Address])
    };
    let limits = vec![login, limit("general", &[KeyPart::Address])];
    let planner = planner(vec![address(32, 64)], limits.clone());
    for (method, target, expected) in [
        ("GET", "/login", &["login"][..]),
        ("GET", "/login/?x=//", &["login"]),
        ("GET", "//login", &["login", "general"]),
        ("GET", "/a/../login", &["login", "general"]),
        ("GET", "/LOGIN", &["login", "general"]),
        ("HEAD", "/login", &["login", "general"]),
        ("GET", "/logout", &["general"]),
    ] {
        assert_eq!(
            names(&planner, &limits, &request(method, target)),
            expected,
            "{method} {target}"
        );
    }
}

#[test]
fn of_a_repeated_header_any_value_limits_and_all_free() {
    let twice = request("GET", "/").with(&[("x-app", "web"), ("x-app", " app ")]);
    let is = |text| value("x-app", ValuePattern::exact(text).unwrap());
    for (condition, expected) in [
        (is("*"), true),
        (is("web"), true),
        (is("app"), true),
        (is("other"), false),
        (value("x-app", ValuePattern::regex("w.*").unwrap()), true),
        (not(is("web")), true),
        (not(is("*")), false),
        (
            not(value("x-app", ValuePattern::regex("web|app").unwrap())),
            false,
        ),
    ] {
        assert_eq!(
            holds(std::slice::from_ref(&condition), &twice),
            expected,
            "{condition:?}"
        );
    }
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
        let identity = planner.identify(&request);
        planner.plan(&request, &identity)
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
fn without_a_client_no_source_fits_and_its_negation_does() {
    let unidentified = FakeRequest::default();
    assert!(!holds(&[sources(&["api_key", "address"])], &unidentified));
    assert!(holds(&[not(sources(&["api_key", "address"]))], &unidentified));
}

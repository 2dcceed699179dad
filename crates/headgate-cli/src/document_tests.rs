use super::*;
use serde_json::json;

fn one(text: &str) -> Node {
    parse(text).unwrap().remove(0)
}

#[test]
fn a_plain_scalar_means_what_its_reader_makes_of_it() {
    for (text, envoy, kubernetes) in [
        ("5", json!(5), json!(5)),
        ("1.5", json!("1.5"), json!(1.5)),
        ("5000000000", json!("5000000000"), json!(5_000_000_000_i64)),
        ("on", json!(true), json!(true)),
        ("No", json!(false), json!(false)),
        ("nO", json!("nO"), json!("nO")),
        ("~", json!(null), json!(null)),
        ("'5'", json!("5"), json!("5")),
        ("0x10", json!(16), json!(16)),
        ("-3", json!(-3), json!(-3)),
        ("100/minute", json!("100/minute"), json!("100/minute")),
        (
            "12345678901234567890123456789012",
            json!("12345678901234567890123456789012"),
            json!("12345678901234567890123456789012".parse::<f64>().unwrap()),
        ),
        ("infinity", json!("infinity"), json!("infinity")),
    ] {
        assert_eq!(one(text).value(Reader::Envoy), envoy, "{text}");
        assert_eq!(one(text).value(Reader::Kubernetes), kubernetes, "{text}");
    }
}

#[test]
fn a_path_leads_to_a_line_or_as_near_as_it_can() {
    let node = one("a:\n  b:\n  - x: 1\n  -\n    y: 2\n  \"odd name\":\n    c: 3\n");
    for (path, line) in [
        ("", 1),
        ("a", 1),
        ("a.b", 2),
        ("a.b[0]", 3),
        ("a.b[0].x", 3),
        ("a.b[1]", 5),
        ("a.b[1].y", 5),
        ("a.b[1].z", 5),
        ("a[\"odd name\"]", 6),
        ("a[\"odd name\"].c", 7),
        ("a.b[7].x", 2),
    ] {
        assert_eq!(node.locate(path).line, line, "{path}");
    }
}

#[test]
fn aliases_repeat_their_anchors_and_cannot_explode() {
    let node = one("a: &x {b: 1}\nc: *x\n");
    assert_eq!(node.value(Reader::Envoy), json!({"a": {"b": 1}, "c": {"b": 1}}));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 8].join(", ");
        bomb += &format!("a{level}: &a{level} [{below}]\n");
    }
    assert!(parse(&bomb).unwrap_err().message.contains("too large"));
}

#[test]
fn a_duplicated_field_is_found() {
    let node = one("a: 1\nb:\n- {c: 1, c: 2}\na: 3\n");
    let found: Vec<(&str, usize)> = node
        .repeated()
        .into_iter()
        .map(|(name, place)| (name, place.line))
        .collect();
    assert_eq!(found, [("c", 3), ("a", 4)]);
}

#[test]
fn invalid_yaml_is_reported_with_its_place() {
    let error = parse("a: [1\nb: 2\n").unwrap_err();
    assert!(
        error.place.line >= 1 && error.message.starts_with("not YAML"),
        "{error:?}"
    );
}

#[test]
fn a_field_of_envoys_has_two_names() {
    let node = one("a_b: {cD_e: 1}\nfGh: 2\n");
    let text = |keys: &[&str]| node.envoy(keys).and_then(Node::text);
    assert_eq!(text(&["a_b", "cD_e"]), Some("1"));
    assert_eq!(text(&["f_gh"]), Some("2"));
    assert_eq!(text(&["aB"]), None, "only the name in snake case is asked for");
}

#[test]
fn a_value_knows_which_part_of_the_text_it_is() {
    let text =
        "a: 'x''y'   # c\nb: \"p\\\"q\" # d\nc: [ 1, {  d: e } ]  \nf: &g\n  h: plain # i\nj: *g\nk: |\n  l\nm: &o !p  { n: 1 } # q\n";
    let node = one(text);
    let part = |keys: &[&str]| {
        let extent = node.at(keys).unwrap().extent;
        let (from, to) = extent.alias.unwrap_or((extent.from, extent.to));
        text.get(from..to).unwrap().to_owned()
    };
    for (keys, written) in [
        (&["a"][..], "'x''y'"),
        (&["b"], "\"p\\\"q\""),
        (&["c"], "[ 1, {  d: e } ]"),
        (&["f", "h"], "plain"),
        (&["m"], "{ n: 1 }"),
        (&["j"], "*g"),
        (&["k"], "l"),
    ] {
        assert_eq!(part(keys).trim_end_matches('\n'), written, "{keys:?}");
    }
    assert!(node.get("c").unwrap().extent.is_flow && !node.get("f").unwrap().extent.is_flow);
}

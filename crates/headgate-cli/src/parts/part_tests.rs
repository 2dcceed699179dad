use super::*;

fn part(text: &str) -> Part {
    Part::template(text, &[])
}

const SHIPPED: &str = "a: {b: 1, \"@c\": [x, z]}
d:
- name: e
  f:
    g: 'h''i'
- {j: \"k: l\"}
m: []
";

#[test]
fn a_part_is_written_as_it_was_read() {
    assert_eq!(part(SHIPPED).block(Style::default(), 0), SHIPPED);
}

#[test]
fn a_part_takes_the_style_of_the_file() {
    let style = Style { indent: 4, dash: 2 };
    let wanted = "  a: {b: 1, \"@c\": [x, z]}
  d:
    - name: e
      f:
          g: 'h''i'
    - {j: \"k: l\"}
  m: []
";
    assert_eq!(part(SHIPPED).block(style, 2), wanted);
}

#[test]
fn a_part_in_json_has_the_same_values() {
    let part = part(SHIPPED);
    assert_eq!(serde_json::from_str::<Value>(&part.json()).unwrap(), part.value());
    let wanted = r#"{"a": {"b": 1, "@c": ["x", "z"]}, "d": [{"name": "e", "f": {"g": "h'i"}}, {"j": "k: l"}], "m": []}"#;
    assert_eq!(part.json(), wanted);
}

#[test]
fn a_text_has_quotes_where_it_needs_them() {
    for (text, written) in [
        ("a-b", "a-b"),
        ("/etc/x.pem", "/etc/x.pem"),
        ("no", "\"no\""),
        ("1.5", "\"1.5\""),
        ("10", "\"10\""),
        ("::1", "\"::1\""),
        ("a: b", "\"a: b\""),
        ("", "\"\""),
        ("a\nb", "\"a\\nb\""),
    ] {
        assert_eq!(
            Part::text(text).block(Style::default(), 0),
            format!("{written}\n"),
            "{text:?}"
        );
        assert_eq!(Part::text(text).value(), Value::from(text));
    }
}

#[test]
fn names_with_a_dollar_are_replaced() {
    let fills = [("x", part("{a: 1}")), ("y", Part::text("b"))];
    let filled = Part::template("c: $x\nd: [$y, $z]\n", &fills);
    assert_eq!(filled.block(Style::default(), 0), "c: {a: 1}\nd: [b, $z]\n");
}

use super::*;
use crate::document::{parse, Reader};

fn any(text: &str) -> Content {
    let documents = parse(text).unwrap_or_else(|error| panic!("{error:?}"));
    Content::of_any(&documents[0])
}

/// Why the plugin would refuse it; nothing where it would not.
fn refused(text: &str) -> Option<String> {
    let errors = any(text).parse(Reader::Envoy).err()?;
    Some(errors.to_string())
}

#[test]
fn what_the_plugin_reads_is_read() {
    // {"limits": [{"rate": "5/s"}]}, in both alphabets, with and without padding; and as the encoding of a Struct
    for value in [
        "'@type': type.googleapis.com/google.protobuf.Struct, value: {limits: [{rate: 5/s}]}",
        "'@type': type.googleapis.com/google.protobuf.StringValue, value: '{\"limits\": [{\"rate\": \"5/s\"}]}'",
        "'@type': type.googleapis.com/google.protobuf.BytesValue, value: eyJsaW1pdHMiOiBbeyJyYXRlIjogIjUvcyJ9XX0=",
        "'@type': type.googleapis.com/google.protobuf.BytesValue, value: eyJsaW1pdHMiOiBbeyJyYXRlIjogIjUvcyJ9XX0",
        "'@type': type.googleapis.com/google.protobuf.BytesValue, value: Ch8KBmxpbWl0cxIVMhMKESoPCg0KBHJhdGUSBRoDNS9z",
    ] {
        assert_eq!(refused(&format!("{{{value}}}")), None, "{value}");
    }
}

#[test]
fn another_message_is_refused_with_the_remedy() {
    let policy = "{limits: [{rate: 5/s}]}";
    for (any, piece) in [
        (
            "'@type': type.googleapis.com/google.protobuf.Value",
            "google.protobuf.Value: Envoy hands",
        ),
        (
            "'@type': type.googleapis.com/xds.type.v3.TypedStruct",
            "TypedStruct: Envoy hands",
        ),
        (
            "'@type': type.googleapis.com/udpa.type.v1.TypedStruct, type_url: x",
            "TypedStruct: Envoy hands",
        ),
        (
            "'@type': type.googleapis.com/google.protobuf.StringValue",
            "must be a text, and this value is not one",
        ),
        (
            "'@type': type.googleapis.com/google.protobuf.BytesValue",
            "must be a text, and this value is not one",
        ),
        ("type_url: x", "has no \"@type\""),
    ] {
        let text = format!("{{{any}, value: {policy}}}");
        let shown = refused(&text).unwrap_or_else(|| panic!("{any} is taken"));
        assert!(
            shown.contains(piece) && shown.contains("write \"@type\": "),
            "{any}: {shown}"
        );
    }
    let text = refused("{'@type': x.Struct, value: '{\"limits\": []}'}");
    assert!(text.is_some_and(|text| text.contains("without a bar and without quotes")));
    let bytes = refused("{'@type': x.BytesValue, value: 'limits: []'}");
    assert!(bytes.is_some_and(|text| text.contains("must be base64, and this value is not")));
    for empty in [
        "{'@type': x.Struct}",
        "{'@type': x.Struct, value: {}}",
        "{'@type': x.StringValue}",
    ] {
        assert!(
            refused(empty).is_some_and(|text| text.contains("empty; the smallest is")),
            "{empty}"
        );
    }
}

#[test]
fn a_text_on_one_line_is_located_there() {
    let Content::Bytes { tree: Some(tree), .. } =
        any("\n\n{'@type': x.StringValue, value: '{\"limits\": 5}'}")
    else {
        panic!("a text")
    };
    assert_eq!(tree.locate("limits").line, 3);
}

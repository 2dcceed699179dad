//! Builds the names of series so that Envoy's `stats_tags` can extract the labels.
//!
//! A name is `<metric>;<label>=<value>;…`, which is Graphite's form too. Values are escaped, so that they contain
//! neither sign: whatever the name of a limit, a route or a path template is, a regex finds the borders of the labels.

use percent_encoding::{percent_encode, AsciiSet, NON_ALPHANUMERIC};

/// The longest value of a label, in bytes; what is longer is cut.
const LONGEST_VALUE: usize = 128;

/// The name of one series.
pub fn series(metric: &str, labels: &[(&str, &str)]) -> String {
    let mut name = String::with_capacity(metric.len() + labels.len() * 24);
    name.push_str(metric);
    for (label, value) in labels {
        name.push(';');
        name.push_str(label);
        name.push('=');
        let value = value.as_bytes();
        name.extend(percent_encode(
            value.get(..LONGEST_VALUE).unwrap_or(value),
            ESCAPED,
        ));
    }
    name
}

/// Letters, digits and `._/{}*-` as they are, anything else as `%XX`. `:` and `|` would end a name in statsd.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'.')
    .remove(b'_')
    .remove(b'/')
    .remove(b'{')
    .remove(b'}')
    .remove(b'*')
    .remove(b'-');

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_contains_its_labels_in_order() {
        let labels = [("limit", "100/minute"), ("endpoint", "/v1/{id}/*")];
        assert_eq!(
            series("m_total", &labels),
            "m_total;limit=100/minute;endpoint=/v1/{id}/*"
        );
        assert_eq!(series("m", &[("a", "x;b=y %é")]), "m;a=x%3Bb%3Dy%20%25%C3%A9");
    }

    proptest! {
        #[test]
        fn whatever_the_values_are_their_borders_are_found(values in prop::collection::vec(".{0,40}", 1..4)) {
            let labels: Vec<(&str, &str)> = ["a", "b", "c"].into_iter().zip(values.iter().map(String::as_str)).collect();
            let name = series("metric", &labels);
            let parts: Vec<&str> = name.split(';').collect();
            prop_assert_eq!(parts.len(), labels.len() + 1);
            for (part, (label, _)) in parts[1..].iter().zip(&labels) {
                prop_assert_eq!(part.split('=').count(), 2);
                prop_assert!(part.starts_with(label));
            }
        }
    }
}

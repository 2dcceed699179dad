//! Compares several Envoys. Those with the same instance should count together.

use super::finding::Diagnosis;
use super::instance::Instance;
use std::collections::BTreeMap;

/// What differs between Envoys; each with its instances.
pub fn compare(envoys: &[(&str, Vec<&Instance>)]) -> Vec<Diagnosis> {
    let mut by_name: BTreeMap<&str, Vec<(&str, &Instance)>> = BTreeMap::new();
    for (url, instances) in envoys {
        for instance in instances {
            by_name.entry(&instance.name).or_default().push((url, instance));
        }
    }
    let mut findings = Vec::new();
    for (name, all) in by_name {
        let keys = differing(&all, |instance| instance.fingerprint);
        if let Some(evidence) = keys {
            let message = "the Envoys hash with different keys: each counts a client under another name, so a client gets up to \
                           N from each of them";
            let remedy = "set the same HEADGATE_HASH_KEY for all Envoys, and restart those that have another";
            let finding = Diagnosis::error("hash-keys-differ", message, remedy).of(name);
            findings.push(finding.seen(format!("fingerprints: {evidence}")));
        }
        let versions = differing(&all, |instance| instance.version);
        if let Some(evidence) = versions {
            let message =
                "the Envoys have different configurations: is an update under way, or did one refuse it?";
            let remedy =
                "compare the policies; search the log of the older one for \"configuration refused\"";
            let finding = Diagnosis::warning("configurations-differ", message, remedy).of(name);
            findings.push(finding.seen(format!("headgate_configuration_version: {evidence}")));
        }
    }
    findings
}

/// The value at each Envoy; `None` if all that report one have the same.
fn differing(all: &[(&str, &Instance)], value: impl Fn(&Instance) -> Option<u64>) -> Option<String> {
    let known = all
        .iter()
        .filter_map(|(url, instance)| Some((url, value(instance)?)));
    let known: Vec<_> = known.collect();
    let first = known.first()?.1;
    let shown = |(url, value): &(&&str, u64)| match value {
        0 => format!("{url} none"),
        value => format!("{url} {value}"),
    };
    let differ = known.iter().any(|(_, value)| *value != first);
    differ.then(|| known.iter().map(shown).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(fingerprint: Option<u64>, version: u64) -> Instance {
        Instance {
            name: "main".to_owned(),
            fingerprint,
            version: Some(version),
            ..Instance::default()
        }
    }

    #[test]
    fn what_differs_is_named_and_what_is_unknown_is_not() {
        for (one, other, expected) in [
            (instance(Some(7), 1), instance(Some(7), 1), vec![]),
            (
                instance(Some(7), 1),
                instance(Some(8), 1),
                vec!["hash-keys-differ"],
            ),
            (
                instance(Some(0), 1),
                instance(Some(8), 1),
                vec!["hash-keys-differ"],
            ),
            (instance(None, 1), instance(Some(8), 1), vec![]),
            (
                instance(Some(7), 1),
                instance(Some(7), 2),
                vec!["configurations-differ"],
            ),
            (
                instance(Some(7), 1),
                instance(Some(8), 2),
                vec!["hash-keys-differ", "configurations-differ"],
            ),
        ] {
            let found = compare(&[("a", vec![&one]), ("b", vec![&other])]);
            let ids: Vec<&str> = found.iter().map(|finding| finding.id).collect();
            assert_eq!(ids, expected);
        }
    }
}

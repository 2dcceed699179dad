//! What must fit together between Headgate's two roles and the Envoy around them.

use super::envoy_parts::Parts;
use super::find::{File, FilterKind, Found};
use super::report::{Report, Severity};
use super::{
    envoy_addresses, envoy_bootstrap, envoy_chain, envoy_filter_state, envoy_redis, envoy_redis_call,
    envoy_transport,
};
use headgate_core::config::{Plugin, Policy};

/// A configuration and its parsed form.
pub type Parsed<'f> = (&'f Found, Plugin);

/// Checks the valid configurations of one file against each other and against the Envoy configuration around them.
pub fn check(file: &File, plugins: &[Parsed<'_>], report: &mut Report) {
    for (index, (found, plugin)) in plugins.iter().enumerate() {
        role(found, plugin, report);
        let Plugin::Filter(policy) = plugin else { continue };
        let others = plugins.iter().enumerate().filter(|(other, _)| *other != index);
        for (other, (other_found, other_plugin)) in others {
            match other_plugin {
                Plugin::RedisCall { key_prefix } => {
                    prefixes(found, policy, other_found, key_prefix, report);
                    machines(found, other_found, report);
                }
                Plugin::Filter(other_policy) if other < index => {
                    instances(found, policy, other_found, other_policy, report);
                }
                Plugin::Filter(_) => {}
            }
        }
    }
    envoy_addresses::check(plugins, report);
    envoy_filter_state::check(plugins, report);
    envoy_redis_call::check(file, plugins, report);
    let parts = Parts::of(file);
    envoy_transport::check(&parts, plugins, report);
    envoy_redis::check(&parts, plugins, report);
    envoy_bootstrap::check(&parts, plugins, report);
    envoy_chain::check(plugins, report);
}

/// The kind of filter decides the role. With a configuration for the other role, every request or connection is
/// refused.
fn role(found: &Found, plugin: &Plugin, report: &mut Report) {
    let (path, message) = match (found.filter, plugin) {
        (Some(FilterKind::Http), Plugin::RedisCall { .. }) => (
            "role",
            "the configuration of role redis_call in an HTTP filter, which would answer every request with 503; write \
             limits, and leave out role: redis_call",
        ),
        (Some(FilterKind::Network), Plugin::Filter(_)) => (
            "limits",
            "limits in a network filter, which would close every connection; write role: redis_call and \
             redis.key_prefix, and nothing else",
        ),
        _ => return,
    };
    report.about(Severity::Error, found, path, message);
}

fn prefixes(found: &Found, policy: &Policy, other: &Found, key_prefix: &str, report: &mut Report) {
    let own = &policy.redis.key_prefix;
    if own != key_prefix {
        let message = format!(
            "{key_prefix:?}, but the filter {:?} (line {}) counts under {own:?}: every call would be refused; write the \
             same in both",
            found.name, found.place.line
        );
        report.about(Severity::Error, other, "redis.key_prefix", message);
    }
}

/// If both roles share one VM, opening the internal connection re-enters the module, and every request hangs.
fn machines(found: &Found, other: &Found, report: &mut Report) {
    let what = match &found.vm.id {
        Some(id) if found.vm.id == other.vm.id && id.is_empty() => {
            "no vm_id, and neither has the filter".to_owned()
        }
        Some(id) if found.vm.id == other.vm.id => format!("vm_id {id:?} is the filter's as well"),
        _ => return,
    };
    let message = format!("{what}: the two roles need two VMs, or every request hangs; give each its own");
    report.about(Severity::Error, other, "", message);
}

fn instances(found: &Found, policy: &Policy, other: &Found, other_policy: &Policy, report: &mut Report) {
    if !found.chain.is_empty() && found.chain == other.chain && policy.instance == other_policy.instance {
        let message = format!(
            "{:?} is also the instance on line {} of this chain: both would count in the same counters; give each its own",
            policy.instance, other.place.line
        );
        report.about(Severity::Error, found, "instance", message);
    }
}

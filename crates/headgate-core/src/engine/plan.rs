//! Finds the counters that a request charges, or decides on the request if nothing is counted.

use crate::decision::{Decision, Outcome};
use crate::identify::{Attributes, Identity};
use crate::limit::{Group, Plan, Planner};
use crate::model::Policy;

/// The result of applying the policy to a request, before anything is counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// The number of costs that could not be read and count as 1.
    pub broken_costs: u32,
    /// The groups to count (never empty), or the decision that was made without counting.
    pub next: Result<Vec<Group>, Decision>,
}

/// Plans a request of an identified caller.
pub fn plan(policy: &Policy, planner: &Planner, request: &dyn Attributes, identity: &Identity) -> Planned {
    let without = |outcome| Planned {
        broken_costs: 0,
        next: Err(Decision::uncounted(outcome)),
    };
    match planner.plan(request, identity) {
        Plan::Exempt => without(Outcome::Exempt),
        Plan::Count {
            groups,
            no_client,
            broken_costs,
        } => {
            let without = no_client.and_then(|why| Decision::no_client(policy, why, !groups.is_empty()));
            let next = match without {
                Some(decision) => Err(decision),
                None if groups.is_empty() => Err(Decision::uncounted(Outcome::Allowed)),
                None => Ok(groups),
            };
            Planned { broken_costs, next }
        }
    }
}

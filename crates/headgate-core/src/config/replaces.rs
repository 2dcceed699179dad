//! `replaces`: turns names into indices, and refuses cycles.

use crate::config::error::suggestion;
use crate::config::node::{Fields, Node};
use std::collections::BTreeMap;

/// The indices of the limits that this one (`own`) replaces.
pub(super) fn read(fields: &Fields, own: usize, names: &BTreeMap<String, usize>) -> Vec<usize> {
    let mut list = Vec::new();
    for node in fields.get("replaces").iter().flat_map(Node::one_or_items) {
        let Some(name) = node.text("a limit's name") else {
            continue;
        };
        match names.get(name).copied() {
            Some(index) if index == own => node.fail("circular: a limit cannot replace itself; remove it"),
            Some(index) if list.contains(&index) => node.fail("is duplicated; remove one"),
            Some(index) => list.push(index),
            None => {
                let known: Vec<&str> = names.keys().map(String::as_str).collect();
                node.fail(&format!("no limit has this name{}", suggestion(name, &known)));
            }
        }
    }
    list
}

/// Reports every limit in a cycle of replacements.
///
/// `graph`: what each limit replaces; `nodes` and `names`: the configuration node and the name of each limit.
pub(super) fn refuse_circles(graph: &[Vec<usize>], nodes: &[Node], names: &[String]) {
    let mut reversed = vec![Vec::new(); graph.len()];
    for (from, targets) in graph.iter().enumerate() {
        for target in targets {
            if let Some(sources) = reversed.get_mut(*target) {
                sources.push(from);
            }
        }
    }
    // A limit without incoming or without outgoing edges is not in a cycle: both are removed repeatedly.
    let entered = remainder(graph);
    let left = remainder(&reversed);
    let is_on_circle = |index: &usize| entered.get(*index) == Some(&true) && left.get(*index) == Some(&true);
    let called = |index: &usize| names.get(*index).map_or("", String::as_str);
    for (index, node) in nodes.iter().enumerate().filter(|(index, _)| is_on_circle(index)) {
        let targets: Vec<&str> = graph
            .get(index)
            .into_iter()
            .flatten()
            .filter(|index| is_on_circle(index))
            .map(called)
            .collect();
        if let Some(node) = node.get("replaces") {
            node.fail(&format!(
                "circular: {} leads back to {}; remove one of them",
                targets.join(", "),
                called(&index)
            ));
        }
    }
}

/// Which nodes stay when those without incoming edges are removed repeatedly.
fn remainder(graph: &[Vec<usize>]) -> Vec<bool> {
    let mut ways_in = vec![0_usize; graph.len()];
    for target in graph.iter().flatten() {
        if let Some(count) = ways_in.get_mut(*target) {
            *count += 1;
        }
    }
    let mut stays = vec![true; graph.len()];
    let mut free: Vec<usize> = (0..graph.len())
        .filter(|index| ways_in.get(*index) == Some(&0))
        .collect();
    while let Some(index) = free.pop() {
        if let Some(stays) = stays.get_mut(index) {
            *stays = false;
        }
        for target in graph.get(index).into_iter().flatten() {
            if let Some(count) = ways_in.get_mut(*target) {
                *count -= 1;
                if *count == 0 {
                    free.push(*target);
                }
            }
        }
    }
    stays
}

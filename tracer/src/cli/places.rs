//! Filters by cgroup and container, held against what there is.

use std::collections::BTreeSet;

use super::exit::{Failure, talk};
use crate::enrich::Enricher;
use crate::filter::Filter;
use crate::kernel;
use crate::place::Place;

/// Containers named in a note.
const NAMED: usize = 4;

/// Fails where no process can be told to be in a cgroup, if the filter asks for that; and says what of the
/// filter stands for nothing now, or for more than one thing.
pub(super) fn require(filter: &Filter, enricher: &Enricher) -> Result<(), Failure> {
    if !filter.asks_place() {
        return Ok(());
    }
    let option = if filter.cgroups.is_empty() {
        "--container"
    } else {
        "--cgroup"
    };
    enricher
        .usable()
        .map_err(|reason| kernel::Error::FilterUnavailable {
            filter: option,
            reason,
        })?;
    if let Some(places) = enricher.all() {
        for note in notes(filter, &places) {
            talk(&note);
        }
    }
    Ok(())
}

/// What a person should know who asks `places` for this.
fn notes(filter: &Filter, places: &[Place]) -> Vec<String> {
    let cgroups = filter.cgroups.iter().filter_map(|path| {
        let is_there = places.iter().any(|place| place.is_within(path));
        (!is_there).then(|| format!("note: there is no cgroup {path} now"))
    });
    let containers = filter.containers.iter().filter_map(|id| {
        let all = places.iter().filter_map(|place| place.container.as_ref());
        let ids: BTreeSet<&str> = all
            .filter(|container| container.id.starts_with(id))
            .map(|container| container.id.as_str())
            .collect();
        match ids.len() {
            0 => Some(format!(
                "note: there is no container now whose id begins with {id}\n\
                 hint: names of containers are known to their runtime only: `docker ps` shows the ids"
            )),
            1 => None,
            count => {
                let named: Vec<&str> = ids.iter().copied().take(NAMED).collect();
                let more = if count > NAMED { ", and more" } else { "" };
                Some(format!(
                    "note: {count} containers have ids that begin with {id}, and all are shown: {}{more}",
                    named.join(", ")
                ))
            }
        }
    });
    cgroups.chain(containers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes_of(cgroups: &[&str], containers: &[&str]) -> Vec<String> {
        let places = [
            "/".to_owned(),
            "/system.slice/nginx.service".to_owned(),
            format!("/docker/{}", "ab01".repeat(16)),
            format!("/docker/{}/init", "ab01".repeat(16)),
            format!("/system.slice/docker-{}.scope", "ab02".repeat(16)),
        ]
        .map(|path| Place::from_path(&path));
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let filter = Filter {
            cgroups: owned(cgroups),
            containers: owned(containers),
            ..Filter::default()
        };
        notes(&filter, &places)
    }

    #[test]
    fn what_is_there_once_needs_no_word() {
        let cgroups = ["/", "/system.slice", "/system.slice/nginx.service/"];
        assert!(notes_of(&cgroups, &["ab01", "ab02ab"]).is_empty());
    }

    #[test]
    fn what_is_not_there_is_said() {
        let cgroups = [
            "/system.slice/nginx",
            "/system.slice/nginx.service/cgroup.procs",
        ];
        assert_eq!(
            notes_of(&cgroups, &[]),
            cgroups.map(|path| format!("note: there is no cgroup {path} now"))
        );
        let absent = notes_of(&[], &["nginx"]).concat();
        assert!(
            absent.contains("no container now whose id begins with nginx"),
            "{absent}"
        );
    }

    #[test]
    fn the_beginning_of_several_ids_is_said_to_be_that() {
        let several = notes_of(&[], &["ab0"]).concat();
        assert!(
            several.starts_with("note: 2 containers have ids that begin with ab0"),
            "{several}"
        );
        assert!(several.contains(&"ab02".repeat(16)), "{several}");
    }
}

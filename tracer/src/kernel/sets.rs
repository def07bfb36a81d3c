//! The filter as the kernel programs take it: flags in [`Config`], sets in maps.

use aya::Ebpf;
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, LpmTrie};
use aya::{EbpfLoader, Pod};
use ipnet::IpNet;
use tracer_common::config::{
    Config, FILTER_ADDR, FILTER_COMM, FILTER_IPV4, FILTER_IPV6, FILTER_LOCAL_PORT, FILTER_NETNS,
    FILTER_PID, FILTER_PLACE, FILTER_PORT, FILTER_REMOTE_PORT, PORT_EITHER, PORT_LOCAL,
    PORT_REMOTE,
};
use tracer_common::names;

use super::Error;
use crate::filter::{FamilyFilter, Filter};

/// Sockets remembered as connected by a process that is not selected.
const FOREIGN_SOCKETS: u32 = 65_536;

/// Cgroups remembered as not selected.
const FOREIGN_CGROUPS: u32 = 16_384;

/// Flags of the filters that are set.
pub(super) fn flags(filter: &Filter) -> u32 {
    let set = [
        (!filter.ports.is_empty(), FILTER_PORT),
        (!filter.local_ports.is_empty(), FILTER_LOCAL_PORT),
        (!filter.remote_ports.is_empty(), FILTER_REMOTE_PORT),
        (!filter.prefixes.is_empty(), FILTER_ADDR),
        (filter.families == FamilyFilter::V4, FILTER_IPV4),
        (filter.families == FamilyFilter::V6, FILTER_IPV6),
        (!filter.netns.is_empty(), FILTER_NETNS),
        (!filter.pids.is_empty(), FILTER_PID),
        (!filter.comms.is_empty(), FILTER_COMM),
        (filter.asks_place(), FILTER_PLACE),
    ];
    set.iter()
        .filter(|(on, _)| *on)
        .fold(0, |flags, (_, flag)| flags | flag)
}

/// Sizes the maps before they are created.
pub(super) fn size(loader: &mut EbpfLoader<'_>, filter: &Filter, config: &Config) {
    let entries = |count: usize| u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    loader
        .map_max_entries(names::PREFIXES, entries(filter.prefixes.len()))
        .map_max_entries(names::NETNS, entries(filter.netns.len()))
        .map_max_entries(names::PIDS, entries(filter.pids.len()))
        .map_max_entries(names::COMMS, entries(filter.comms.len()));
    if config.filters & (FILTER_PID | FILTER_COMM | FILTER_PLACE) != 0 {
        loader.map_max_entries(names::FOREIGN, FOREIGN_SOCKETS);
    }
    if config.filters & FILTER_PLACE != 0 {
        loader.map_max_entries(names::FOREIGN_CGROUPS, FOREIGN_CGROUPS);
    }
}

/// Fills the maps, before any program is attached.
pub(super) fn fill(ebpf: &mut Ebpf, filter: &Filter) -> Result<(), Error> {
    let ports = [
        (&filter.ports, PORT_EITHER),
        (&filter.local_ports, PORT_LOCAL),
        (&filter.remote_ports, PORT_REMOTE),
    ];
    if ports.iter().any(|(set, _)| !set.is_empty()) {
        let mut flags = vec![0u8; 65_536];
        for (set, flag) in ports {
            for range in set.ranges() {
                for entry in flags
                    .iter_mut()
                    .take(usize::from(*range.end()) + 1)
                    .skip(usize::from(*range.start()))
                {
                    *entry |= flag;
                }
            }
        }
        let flags: Box<[u8; 65_536]> = flags
            .try_into()
            .map_err(|_| Error::Incomplete(names::PORTS))?;
        let mut map: Array<_, [u8; 65_536]> = map(ebpf, names::PORTS)?;
        map.set(0, *flags, 0).map_err(failed(names::PORTS))?;
    }

    let mut prefixes: LpmTrie<_, [u8; 16], u8> = map(ebpf, names::PREFIXES)?;
    for prefix in &filter.prefixes {
        let (addr, length) = match prefix {
            IpNet::V4(v4) => (v4.network().to_ipv6_mapped(), v4.prefix_len() + 96),
            IpNet::V6(v6) => (v6.network(), v6.prefix_len()),
        };
        prefixes
            .insert(&Key::new(u32::from(length), addr.octets()), 1, 0)
            .map_err(failed(names::PREFIXES))?;
    }
    insert_all(ebpf, names::NETNS, filter.netns.iter().copied())?;
    insert_all(ebpf, names::PIDS, filter.pids.iter().copied())?;
    insert_all(ebpf, names::COMMS, filter.comms.iter().map(|comm| comm.0))
}

/// Lets the programs leave out the processes of a cgroup. Where there is no room for it, the userspace half
/// of the filter does so alone.
pub(super) fn exclude_cgroup(ebpf: &mut Ebpf, cgroup_id: u64) -> Result<(), Error> {
    let mut set: HashMap<_, u64, u8> = map(ebpf, names::FOREIGN_CGROUPS)?;
    if let Err(error) = set.insert(cgroup_id, 1, 0) {
        log::debug!("cgroup {cgroup_id} is not left out by the kernel programs: {error}");
    }
    Ok(())
}

fn insert_all<K: Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
    keys: impl Iterator<Item = K>,
) -> Result<(), Error> {
    let mut set: HashMap<_, K, u8> = map(ebpf, name)?;
    for key in keys {
        set.insert(key, 1, 0).map_err(failed(name))?;
    }
    Ok(())
}

fn map<'e, M>(ebpf: &'e mut Ebpf, name: &'static str) -> Result<M, Error>
where
    M: TryFrom<&'e mut aya::maps::Map, Error = aya::maps::MapError>,
{
    let map = ebpf.map_mut(name).ok_or(Error::Incomplete(name))?;
    M::try_from(map).map_err(failed(name))
}

fn failed(name: &'static str) -> impl Fn(aya::maps::MapError) -> Error {
    move |source| Error::Map { name, source }
}

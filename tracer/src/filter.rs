//! Which connections are wanted.
use std::ops::RangeInclusive;
#[derive(Clone, Debug, Default)]
pub struct PortSet(pub Vec<RangeInclusive<u16>>);
impl PortSet {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u16>> + '_ {
        self.0.iter().cloned()
    }
}
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FamilyFilter {
    #[default]
    Any,
    V4,
    V6,
}
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub ports: PortSet,
    pub local_ports: PortSet,
    pub remote_ports: PortSet,
    pub prefixes: Vec<ipnet::IpNet>,
    pub families: FamilyFilter,
    pub pids: Vec<u32>,
    pub comms: Vec<crate::event::Comm>,
    pub netns: Vec<u32>,
}

//! Ports of a guest's USB buses and hubs.

use virt_util::{ErrorCode, Result, VirtError};

/// Deepest chain of hubs.
pub const MAX_DEPTH: usize = 4;
/// Ports of QEMU's hub.
pub const HUB_PORTS: usize = 8;

/// A path of ports from a controller down.
pub type Path = Vec<u32>;

/// Reads `1.2`.
///
/// # Errors
/// `XML_ERROR` for anything else.
pub fn parse_path(text: &str) -> Result<Path> {
    let path: Option<Path> = text
        .split('.')
        .map(|part| part.parse().ok().filter(|port| *port != 0))
        .collect();
    path.filter(|path| path.len() <= MAX_DEPTH)
        .ok_or_else(|| VirtError::new(ErrorCode::XML_ERROR, format_args!("'{text}' is no USB port")))
}

/// Writes `1.2`.
pub fn format_path(path: &[u32]) -> String {
    path.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

/// A hub, or a controller's own ports.
#[derive(Clone, Debug, Default)]
struct Hub {
    ports: Vec<Port>,
}

#[derive(Clone, Debug, Default)]
struct Port {
    taken: bool,
    hub: Option<Box<Hub>>,
}

impl Hub {
    fn new(ports: usize) -> Self {
        Self {
            ports: vec![Port::default(); ports],
        }
    }

    fn free(&self, path: &mut Path) -> bool {
        if let Some(index) = self.ports.iter().position(|port| !port.taken) {
            path.push(index as u32 + 1);
            return true;
        }
        if path.len() + 1 >= MAX_DEPTH {
            return false;
        }
        for (index, port) in self.ports.iter().enumerate() {
            let Some(hub) = &port.hub else { continue };
            path.push(index as u32 + 1);
            if hub.free(path) {
                return true;
            }
            path.pop();
        }
        false
    }
}

/// The USB buses of a guest.
#[derive(Clone, Debug, Default)]
pub struct AddressSet {
    buses: Vec<Option<Hub>>,
}

impl AddressSet {
    /// Adds a controller with `ports` ports of its own. Companions have none and add nothing.
    ///
    /// # Errors
    /// `XML_ERROR` if there is one of that index.
    pub fn add_controller(&mut self, index: u32, ports: usize) -> Result<()> {
        if ports == 0 {
            return Ok(());
        }
        let at = index as usize;
        if at > 0xffff {
            return Err(VirtError::new(
                ErrorCode::XML_ERROR,
                format_args!("USB controller index {index} is too large"),
            ));
        }
        if self.buses.len() <= at {
            self.buses.resize_with(at + 1, || None);
        }
        match self.buses.get_mut(at) {
            Some(slot @ None) => *slot = Some(Hub::new(ports.min(255))),
            _ => {
                let what = format!("there are two USB controllers with index {index}");
                return Err(VirtError::new(ErrorCode::XML_ERROR, what));
            }
        }
        Ok(())
    }

    fn port(&mut self, bus: u32, path: &[u32]) -> Result<&mut Port> {
        let fail = || {
            let port = format_path(path);
            VirtError::new(
                ErrorCode::XML_ERROR,
                format_args!("there is no USB port {port} on bus {bus}"),
            )
        };
        let (last, hubs) = path.split_last().ok_or_else(fail)?;
        let mut hub = self
            .buses
            .get_mut(bus as usize)
            .and_then(Option::as_mut)
            .ok_or_else(fail)?;
        for port in hubs {
            let index = (*port as usize).wrapping_sub(1);
            hub = hub
                .ports
                .get_mut(index)
                .and_then(|port| port.hub.as_deref_mut())
                .ok_or_else(fail)?;
        }
        hub.ports
            .get_mut((*last as usize).wrapping_sub(1))
            .ok_or_else(fail)
    }

    /// Puts a hub at a port.
    ///
    /// # Errors
    /// `XML_ERROR` if there is no such port or it has a hub.
    pub fn add_hub(&mut self, bus: u32, path: &[u32]) -> Result<()> {
        let port = self.port(bus, path)?;
        if port.hub.is_some() {
            let what = format!("USB port {} on bus {bus} has a hub already", format_path(path));
            return Err(VirtError::new(ErrorCode::XML_ERROR, what));
        }
        port.taken = true;
        port.hub = Some(Box::new(Hub::new(HUB_PORTS)));
        Ok(())
    }

    /// Takes a port.
    ///
    /// # Errors
    /// `XML_ERROR` if there is no such port or it is taken.
    pub fn reserve(&mut self, bus: u32, path: &[u32]) -> Result<()> {
        let port = self.port(bus, path)?;
        if port.taken {
            let what = format!("duplicate USB address bus {bus} port {}", format_path(path));
            return Err(VirtError::new(ErrorCode::XML_ERROR, what));
        }
        port.taken = true;
        Ok(())
    }

    /// Frees a port.
    pub fn release(&mut self, bus: u32, path: &[u32]) {
        if let Ok(port) = self.port(bus, path) {
            port.taken = false;
        }
    }

    /// Takes the first free port, of `bus` if one is given.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if there is none.
    pub fn reserve_next(&mut self, bus: Option<u32>) -> Result<(u32, Path)> {
        let buses = match bus {
            Some(bus) => bus..bus.saturating_add(1),
            None => 0..self.buses.len() as u32,
        };
        for bus in buses {
            let mut path = Path::new();
            let found = self
                .buses
                .get(bus as usize)
                .and_then(Option::as_ref)
                .is_some_and(|hub| hub.free(&mut path));
            if found {
                self.reserve(bus, &path)?;
                return Ok((bus, path));
            }
        }
        Err(VirtError::internal("no free USB ports"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_then_hubs() {
        let mut set = AddressSet::default();
        set.add_controller(0, 2).unwrap();
        set.add_controller(1, 0).unwrap();
        assert!(set.add_controller(0, 2).is_err());
        assert_eq!(set.reserve_next(None).unwrap(), (0, vec![1]));
        set.add_hub(0, &[2]).unwrap();
        assert_eq!(set.reserve_next(None).unwrap(), (0, vec![2, 1]));
        assert!(set.reserve(0, &[2, 1]).is_err());
        assert!(set.reserve(0, &[3]).is_err());
        assert!(set.reserve(0, &[1, 1]).is_err());
        for port in 2..=8 {
            assert_eq!(set.reserve_next(Some(0)).unwrap(), (0, vec![2, port]));
        }
        assert!(set.reserve_next(None).is_err());
        assert!(set.reserve_next(Some(7)).is_err());
    }

    #[test]
    fn paths() {
        assert_eq!(format_path(&parse_path("1.2").unwrap()), "1.2");
        for bad in ["", "0", "1.", "a", "1.2.3.4.5"] {
            assert!(parse_path(bad).is_err(), "{bad}");
        }
    }
}

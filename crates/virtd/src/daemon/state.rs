//! What a daemon leaves to the program that takes its place in the same process: libvirt's JSON document of its servers.
//!
//! A server has limits, services (what listens: one or more sockets with the same rule) and clients. [`DaemonState::read`]
//! takes a document, [`DaemonState::to_json`] makes one; both are pure, but for the question whether a number is a socket.
//! What refuses a document, in which order and with which words is libvirt's, so that either can say of the other's document
//! what is wrong with it. Who writes and reads ours is [`super::successor`].
//!
//! Members that nobody knows are passed over, so a document from a newer version can be read. Three are ours and optional:
//! `process` of the document, `changed` of a server and `name` of a service; libvirt passes over them.
//!
//! Earlier forms are read as well: a document that is itself the only server, and `servers` as a list. Neither names its
//! servers, so whoever reads says what they are called.

use std::collections::BTreeMap;

use virt_util::json::Json;
use virt_util::number::scan_integer;
use virt_util::{ErrorDomain, Result, VirtError};

#[cfg(test)]
mod tests;

/// A daemon: its servers by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonState {
    /// In the order of their names, as they are written.
    pub servers: BTreeMap<String, ServerState>,
    /// Ours: the process that the numbers of sockets belong to.
    pub process: Option<u32>,
}

/// One server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerState {
    /// Workers that are there from the start; never more than the most.
    pub min_workers: u32,
    /// The most workers.
    pub max_workers: u32,
    /// Workers that only take calls of high priority.
    pub priority_workers: u32,
    /// The most clients.
    pub max_clients: u32,
    /// The most clients that have not proved who they are.
    pub max_anonymous_clients: u32,
    /// After how many seconds of silence a client is asked whether it lives.
    pub keepalive_interval: u32,
    /// How many questions may go unanswered.
    pub keepalive_count: u32,
    /// The number that the next client gets.
    pub next_client_id: u64,
    /// What listens.
    pub services: Vec<ServiceState>,
    /// Who is connected.
    pub clients: Vec<ClientState>,
    /// Ours: which limits were set while the daemon ran; the others are its configuration's. Without it all of them count.
    pub changed: Option<Vec<String>>,
}

/// Sockets that listen, for the same kind of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceState {
    /// How clients prove who they are, by libvirt's number.
    pub auth: i32,
    /// Clients may only look.
    pub readonly: bool,
    /// The most calls of one client at a time.
    pub nrequests_client_max: u32,
    /// The sockets.
    pub socks: Vec<SocketState>,
    /// Ours: what it is called by the service manager.
    pub name: Option<String>,
}

/// One socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketState {
    /// Its number.
    pub fd: i32,
    /// The number of a pipe with the errors of the program behind it; -1 if there is none.
    pub errfd: i32,
    /// The program behind it; 0 or -1 if there is none.
    pub pid: i32,
    /// Somebody is at the other end; otherwise it listens.
    pub is_client: bool,
    /// Its file is removed with it.
    pub unlink_unix: bool,
}

/// One client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientState {
    /// Its number.
    pub id: u64,
    /// How it proves who it is, by libvirt's number.
    pub auth: i32,
    /// It has not yet.
    pub auth_pending: bool,
    /// It may only look.
    pub readonly: bool,
    /// The most calls at a time.
    pub nrequests_max: u32,
    /// Since when it is there, in seconds since 1970; 0 if nobody knows.
    pub conn_time: i64,
    /// Its socket.
    pub sock: SocketState,
    /// What the programs that serve it keep of it.
    pub private_data: Json,
}

/// What somebody who need not prove anything has for a method.
const AUTH_NONE: i32 = 0;

impl DaemonState {
    /// Reads a document. `names` are those of the servers, for documents that have none; `socket` is asked about each socket's
    /// number, and its error is this one's.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` for what is missing, malformed or contradicts itself.
    pub fn read(document: &Json, names: &[&str], socket: &mut dyn FnMut(i32) -> Result<()>) -> Result<Self> {
        let mut state = Self {
            process: optional(document, "process", unsigned)
                .map_err(|()| refused("Malformed process data in JSON document"))?,
            ..Self::default()
        };
        match document.get("servers") {
            None => {
                let Some(name) = names.first() else {
                    return Err(refused("No default server names provided"));
                };
                let server = ServerState::read(document, socket)?;
                state.servers.insert((*name).to_owned(), server);
            }
            Some(Json::Array(servers)) => {
                if servers.len() > names.len() {
                    return Err(refused(format_args!(
                        "Server count {} greater than default name count {}",
                        servers.len(),
                        names.len()
                    )));
                }
                for (name, server) in names.iter().zip(servers) {
                    let server = ServerState::read(server, socket)?;
                    state.servers.insert((*name).to_owned(), server);
                }
            }
            Some(Json::Object(servers)) => {
                for (name, server) in servers {
                    let server = ServerState::read(server, socket)?;
                    state.servers.insert(name.clone(), server);
                }
            }
            Some(_) => return Err(refused("Malformed servers data in JSON document")),
        }
        Ok(state)
    }

    /// That server.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if the document had none of that name.
    pub fn server(&self, name: &str) -> Result<&ServerState> {
        self.servers
            .get(name)
            .ok_or_else(|| refused(format_args!("Server {name} was not created")))
    }

    /// The document.
    pub fn to_json(&self) -> Json {
        let servers = self.servers.iter();
        let servers = servers.map(|(name, server)| (name.clone(), server.to_json()));
        let mut members = vec![("servers".to_owned(), Json::Object(servers.collect()))];
        if let Some(process) = self.process {
            members.push(("process".to_owned(), number(process)));
        }
        Json::Object(members)
    }
}

impl ServerState {
    fn read(json: &Json, socket: &mut dyn FnMut(i32) -> Result<()>) -> Result<Self> {
        let limit = |name: &str| {
            required(json, name, unsigned)
                .ok_or_else(|| refused(format_args!("Missing {name} data in JSON document")))
        };
        let min_workers = limit("min_workers")?;
        let max_workers = limit("max_workers")?;
        let priority_workers = limit("priority_workers")?;
        let max_clients = limit("max_clients")?;
        let max_anonymous_clients = optional(json, "max_anonymous_clients", unsigned)
            .map_err(|()| refused("Malformed max_anonymous_clients data in JSON document"))?
            .unwrap_or(max_clients);
        if max_clients < max_anonymous_clients {
            return Err(refused(
                "The overall maximum number of clients must not be less than the number of clients waiting for \
                 authentication",
            ));
        }
        let mut server = Self {
            min_workers: min_workers.min(max_workers),
            max_workers,
            priority_workers,
            max_clients,
            max_anonymous_clients,
            keepalive_interval: limit("keepaliveInterval")?,
            keepalive_count: limit("keepaliveCount")?,
            // Even if it is there and no number.
            next_client_id: required(json, "next_client_id", unsigned_long).unwrap_or(1),
            services: Vec::new(),
            clients: Vec::new(),
            changed: optional(json, "changed", texts)
                .map_err(|()| refused("Malformed changed data in JSON document"))?,
        };
        for service in list(json, "services")? {
            server.services.push(ServiceState::read(service, socket)?);
        }
        for client in list(json, "clients")? {
            let client = ClientState::read(client, &mut server.next_client_id, socket)?;
            server.clients.push(client);
        }
        Ok(server)
    }

    fn to_json(&self) -> Json {
        let services = self.services.iter().map(ServiceState::to_json).collect();
        let clients = self.clients.iter().map(ClientState::to_json).collect();
        let mut members = vec![
            ("min_workers", number(self.min_workers)),
            ("max_workers", number(self.max_workers)),
            ("priority_workers", number(self.priority_workers)),
            ("max_clients", number(self.max_clients)),
            ("max_anonymous_clients", number(self.max_anonymous_clients)),
            ("keepaliveInterval", number(self.keepalive_interval)),
            ("keepaliveCount", number(self.keepalive_count)),
            ("next_client_id", number(self.next_client_id)),
            ("services", Json::Array(services)),
            ("clients", Json::Array(clients)),
        ];
        if let Some(changed) = &self.changed {
            let changed = changed.iter().cloned().map(Json::String);
            members.push(("changed", Json::Array(changed.collect())));
        }
        object(members)
    }
}

impl ServiceState {
    fn read(json: &Json, socket: &mut dyn FnMut(i32) -> Result<()>) -> Result<Self> {
        let mut service = Self {
            auth: field(json, "auth", signed)?,
            readonly: field(json, "readonly", truth)?,
            nrequests_client_max: field(json, "nrequests_client_max", unsigned)?,
            socks: Vec::new(),
            name: optional(json, "name", text).map_err(|()| malformed("name"))?,
        };
        let socks = match json.get("socks") {
            None => return Err(missing("socks")),
            Some(Json::Array(socks)) => socks,
            Some(_) => return Err(refused("Malformed socks array")),
        };
        for sock in socks {
            service.socks.push(SocketState::read(sock, socket)?);
        }
        Ok(service)
    }

    fn to_json(&self) -> Json {
        let socks = self.socks.iter().map(|sock| sock.to_json()).collect();
        let mut members = vec![
            ("auth", number(self.auth)),
            ("readonly", Json::Bool(self.readonly)),
            ("nrequests_client_max", number(self.nrequests_client_max)),
            ("socks", Json::Array(socks)),
        ];
        if let Some(name) = &self.name {
            members.push(("name", Json::String(name.clone())));
        }
        object(members)
    }
}

impl SocketState {
    fn read(json: &Json, socket: &mut dyn FnMut(i32) -> Result<()>) -> Result<Self> {
        let missing = |name: &str| refused(format_args!("Missing {name} data in JSON document"));
        let integer = |name: &str| required(json, name, signed).ok_or_else(|| missing(name));
        let fd = integer("fd")?;
        let pid = integer("pid")?;
        let errfd = integer("errfd")?;
        let is_client = required(json, "isClient", truth).ok_or_else(|| missing("isClient"))?;
        let sock = Self {
            fd,
            errfd,
            pid,
            is_client,
            // What listens has a file of its own unless somebody says it has not.
            unlink_unix: required(json, "unlinkUNIX", truth).unwrap_or(!is_client),
        };
        socket(fd)?;
        Ok(sock)
    }

    fn to_json(self) -> Json {
        object(vec![
            ("fd", number(self.fd)),
            ("errfd", number(self.errfd)),
            ("pid", number(self.pid)),
            ("isClient", Json::Bool(self.is_client)),
            ("unlinkUNIX", Json::Bool(self.unlink_unix)),
        ])
    }
}

impl ClientState {
    /// Takes a number from `next` for a client that has none.
    fn read(json: &Json, next: &mut u64, socket: &mut dyn FnMut(i32) -> Result<()>) -> Result<Self> {
        let auth = field(json, "auth", signed)?;
        let said = optional(json, "auth_pending", truth).map_err(|()| malformed("auth_pending"))?;
        if said == Some(true) && auth == AUTH_NONE {
            return Err(refused(
                "Invalid auth_pending and auth combination in JSON state document",
            ));
        }
        let readonly = field(json, "readonly", truth)?;
        let nrequests_max = required(json, "nrequests_max", unsigned)
            // libvirt's own words, with the name of the service's member.
            .ok_or_else(|| missing("nrequests_client_max"))?;
        let sock = json.get("sock").ok_or_else(|| missing("sock"))?;
        let id = match optional(json, "id", unsigned_long).map_err(|()| malformed("id"))? {
            Some(id) => id,
            None => {
                let id = *next;
                *next = next.wrapping_add(1);
                id
            }
        };
        let conn_time = optional(json, "conn_time", signed_long).map_err(|()| malformed("conn_time"))?;
        let sock = SocketState::read(sock, socket)?;
        let private_data = json.get("privateData").ok_or_else(|| missing("privateData"))?;
        Ok(Self {
            id,
            auth,
            auth_pending: said.unwrap_or(auth != AUTH_NONE),
            readonly,
            nrequests_max,
            conn_time: conn_time.unwrap_or(0),
            sock,
            private_data: private_data.clone(),
        })
    }

    fn to_json(&self) -> Json {
        let mut members = vec![
            ("id", number(self.id)),
            ("auth", number(self.auth)),
            ("auth_pending", Json::Bool(self.auth_pending)),
            ("readonly", Json::Bool(self.readonly)),
            ("nrequests_max", number(self.nrequests_max)),
        ];
        if self.conn_time != 0 {
            members.push(("conn_time", number(self.conn_time)));
        }
        members.push(("sock", self.sock.to_json()));
        members.push(("privateData", self.private_data.clone()));
        object(members)
    }
}

fn refused(why: impl std::fmt::Display) -> VirtError {
    VirtError::internal(why).in_domain(ErrorDomain::RPC)
}

fn missing(name: &str) -> VirtError {
    refused(format_args!("Missing {name} field in JSON state document"))
}

fn malformed(name: &str) -> VirtError {
    refused(format_args!("Malformed {name} field in JSON state document"))
}

/// The member as `kind` takes it; none if it is missing or something else.
fn required<T>(json: &Json, name: &str, kind: fn(&Json) -> Option<T>) -> Option<T> {
    json.get(name).and_then(kind)
}

/// The same for one that may be missing, but not be something else.
fn optional<T>(json: &Json, name: &str, kind: fn(&Json) -> Option<T>) -> std::result::Result<Option<T>, ()> {
    json.get(name).map(|value| kind(value).ok_or(())).transpose()
}

/// A member that a service or a client has to have.
fn field<T>(json: &Json, name: &str, kind: fn(&Json) -> Option<T>) -> Result<T> {
    required(json, name, kind).ok_or_else(|| missing(name))
}

/// The services or clients of a server.
fn list<'j>(json: &'j Json, name: &str) -> Result<&'j [Json]> {
    match json.get(name) {
        None => Err(refused(format_args!("Missing {name} data in JSON document"))),
        Some(Json::Array(values)) => Ok(values),
        Some(_) => Err(refused(format_args!("Malformed {name} array"))),
    }
}

fn truth(json: &Json) -> Option<bool> {
    match json {
        Json::Bool(value) => Some(*value),
        _ => None,
    }
}

fn text(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn texts(json: &Json) -> Option<Vec<String>> {
    match json {
        Json::Array(values) => values.iter().map(text).collect(),
        _ => None,
    }
}

/// A whole number, as C reads it.
fn whole(json: &Json) -> Option<virt_util::number::Scanned<'_>> {
    match json {
        Json::Number(text) => scan_integer(text, 10).filter(|number| number.rest.is_empty()),
        _ => None,
    }
}

fn signed(json: &Json) -> Option<i32> {
    whole(json)?.to_i32()
}

fn signed_long(json: &Json) -> Option<i64> {
    whole(json)?.to_i64()
}

/// Negative numbers count from the end, as everywhere where libvirt reads an unsigned one.
fn unsigned(json: &Json) -> Option<u32> {
    whole(json)?.to_u32_wrapping()
}

fn unsigned_long(json: &Json) -> Option<u64> {
    whole(json)?.to_u64_wrapping()
}

fn number(value: impl std::fmt::Display) -> Json {
    Json::Number(value.to_string())
}

fn object(members: Vec<(&str, Json)>) -> Json {
    let members = members.into_iter();
    Json::Object(members.map(|(name, value)| (name.to_owned(), value)).collect())
}

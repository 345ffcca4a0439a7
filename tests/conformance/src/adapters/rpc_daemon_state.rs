//! Area `rpc-daemon-state`: what a daemon leaves to the program that takes its place.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use virt_util::json::Json;
use virt_util::{Result as VirtResult, VirtError};
use virtd::daemon::state::DaemonState;

/// The numbers that are sockets.
const SOCKETS: std::ops::RangeInclusive<i32> = 100..=103;

/// What the programs that serve clients keep of each, and nothing else.
const PRIVATE_DATA: &str = "1729";

/// Makes a daemon of a document, and its document again. A refusal is held against libvirt's words where they are known.
pub fn exec_restart(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let servers = case
            .param("servers")
            .as_u64()
            .ok_or("the case does not say how many servers")?;
        let names: Vec<String> = (0..servers).map(|at| format!("testServer{at}")).collect();
        let have = again(&corpus.input(case)?, &names);
        if let (Err(error), Some(words)) = (&have, corpus.expected(case, "err")?) {
            return Ok(Outcome::same_text(error.message(), words.trim_end()));
        }
        let want = corpus.expected(case, "json")?;
        // Files end with a line.
        let have = have.map(|text| text + "\n");
        Ok(Outcome::of_text(case, have, want.as_deref()))
    };
    run().into()
}

fn again(document: &str, names: &[String]) -> VirtResult<String> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let state = DaemonState::read(&Json::parse(document)?, &names, &mut |number| match SOCKETS
        .contains(&number)
    {
        true => Ok(()),
        false => Err(VirtError::internal(format_args!("{number} is no socket"))),
    })?;
    for name in names {
        state.server(name)?;
    }
    let known = Json::Number(PRIVATE_DATA.to_owned());
    let mut clients = state.servers.values().flat_map(|server| &server.clients);
    match clients.find(|client| client.private_data != known) {
        Some(client) => Err(VirtError::internal(format_args!(
            "client {} is no client of the programs",
            client.id
        ))),
        None => Ok(state.to_json().to_pretty_string()),
    }
}

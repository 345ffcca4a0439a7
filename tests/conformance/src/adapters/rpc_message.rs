//! Area `rpc-message`: packets as bytes.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use serde_json::Value;
use virt_api::rpc::error::ErrorMessage;
use virt_api::rpc::{Header, MessageType, PacketReader, PacketWriter, Status};
use virt_util::xdr::{XdrDecode, XdrDecoder, XdrEncode};

/// Encodes what the case says, or decodes its bytes: what comes out is compared whole.
pub fn message(case: &Case, _corpus: &Corpus) -> Outcome {
    message_inner(case).into()
}

fn message_inner(case: &Case) -> Result<Outcome, String> {
    let header = header(case.param("header"))?;
    let bytes = from_hex(case.text("hex")?)?;
    let error = case.param("error");
    let text = |e: virt_util::VirtError| e.to_string();
    if case.text("direction")? == "encode" {
        let mut packet = PacketWriter::new(&header);
        let packet = match case.param("stream").as_str() {
            Some(payload) => packet.finish_with(payload.as_bytes()),
            None => {
                error_message(error)?.encode(packet.payload()).map_err(text)?;
                packet.finish()
            }
        };
        return Ok(Outcome::equal("bytes", &packet.map_err(text)?, &bytes));
    }
    let mut reader = PacketReader::new();
    let packet = reader
        .feed(&mut bytes.as_slice())
        .map_err(text)?
        .ok_or("the bytes are no whole packet")?;
    let payload = match case.param("stream").as_str() {
        Some(payload) => Outcome::equal("payload", &packet.payload, &payload.as_bytes().to_vec()),
        None => {
            let have = ErrorMessage::decode(&mut XdrDecoder::new(&packet.payload)).map_err(text)?;
            Outcome::equal("error", &have, &error_message(error)?)
        }
    };
    Ok(Outcome::all([
        Outcome::equal("header", &packet.header, &header),
        payload,
    ]))
}

/// The head that a case describes.
fn header(value: &Value) -> Result<Header, String> {
    let number = |name: &str| {
        value
            .get(name)
            .and_then(Value::as_i64)
            .ok_or_else(|| format!("header without {name}"))
    };
    let narrow = |name: &str| number(name).and_then(|n| i32::try_from(n).map_err(|e| e.to_string()));
    let wide = |name: &str| number(name).and_then(|n| u32::try_from(n).map_err(|e| e.to_string()));
    Ok(Header {
        program: wide("program")?,
        version: wide("version")?,
        procedure: narrow("procedure")?,
        kind: MessageType::from_number(narrow("type")?).ok_or("unknown type")?,
        serial: wide("serial")?,
        status: Status::from_number(narrow("status")?).ok_or("unknown status")?,
    })
}

/// The error that a case describes. None of its cases is about an object.
fn error_message(value: &Value) -> Result<ErrorMessage, String> {
    let number = |name: &str| {
        let found = value
            .get(name)
            .and_then(Value::as_i64)
            .and_then(|n| i32::try_from(n).ok());
        found.ok_or_else(|| format!("error without {name}"))
    };
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(ErrorMessage {
        code: number("code")?,
        domain: number("domain")?,
        message: text("message"),
        level: number("level")?,
        about_domain: None,
        strings: [text("str1"), text("str2"), text("str3")],
        ints: [number("int1")?, number("int2")?],
        about_network: None,
    })
}

/// Bytes written as hexadecimal digits.
fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let pair = std::str::from_utf8(pair).map_err(|e| e.to_string())?;
            u8::from_str_radix(pair, 16).map_err(|e| format!("'{pair}': {e}"))
        })
        .collect()
}

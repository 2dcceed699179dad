//! The functions of proxy-wasm 0.2.1 that the module uses, and Higress's two for Redis.
//! source: <https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1>; higress-group/proxy-wasm-cpp-host
//! `src/exports.cc`

use super::client::is_one_command;
use super::http::{value, Headers, LocalReply};
use super::state::{Init, State};
use std::time::{Duration, Instant};
use wasmi::{Caller, ExternType, Linker, Memory, Module, Val};

const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const BAD_ARGUMENT: u32 = 2;
const BAD_MEMORY: u32 = 6;
const CAS_MISMATCH: u32 = 8;
const INTERNAL_FAILURE: u32 = 10;
const UNIMPLEMENTED: u32 = 12;

const PLUGIN_CONFIGURATION: u32 = 7;
const REDIS_CALL_RESPONSE: u32 = 9;

type Host<'a> = Caller<'a, State>;

pub fn memory(host: &Host) -> Memory {
    host.get_export("memory")
        .and_then(|export| export.into_memory())
        .expect("a memory")
}

pub fn write(host: &mut Host, at: u32, bytes: &[u8]) {
    memory(host)
        .write(host, at as usize, bytes)
        .expect("an address in memory");
}

pub fn write_u32(host: &mut Host, at: u32, number: u32) {
    write(host, at, &number.to_le_bytes());
}

/// `None`: not in the module's memory.
fn read(host: &Host, at: u32, size: u32) -> Option<Vec<u8>> {
    let mut bytes = vec![0; size as usize];
    memory(host)
        .read(host, at as usize, &mut bytes)
        .ok()
        .map(|()| bytes)
}

fn text(host: &Host, at: u32, size: u32) -> String {
    String::from_utf8_lossy(&read(host, at, size).expect("an address in memory")).into_owned()
}

/// Returns bytes to the module, in a buffer of its allocator.
fn give(host: &mut Host, bytes: &[u8], data: u32, size: u32) -> u32 {
    let mut at = 0;
    if !bytes.is_empty() {
        let allocate = host
            .get_export("proxy_on_memory_allocate")
            .and_then(|export| export.into_func());
        let allocate = allocate
            .and_then(|f| f.typed::<u32, u32>(&*host).ok())
            .expect("an allocator");
        at = allocate.call(&mut *host, bytes.len() as u32).expect("memory");
        write(host, at, bytes);
    }
    write_u32(host, data, at);
    write_u32(host, size, bytes.len() as u32);
    OK
}

fn headers_of<'a>(host: &'a mut Host, map: u32) -> Option<&'a mut Headers> {
    let exchange = host.data_mut().exchange()?;
    match map {
        0 => Some(&mut exchange.request),
        2 => Some(&mut exchange.response),
        _ => None,
    }
}

fn serialize(headers: &Headers) -> Vec<u8> {
    let mut bytes = (headers.len() as u32).to_le_bytes().to_vec();
    for (name, value) in headers {
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in headers {
        for part in [name, value] {
            bytes.extend(part.as_bytes());
            bytes.push(0);
        }
    }
    bytes
}

fn parse(bytes: &[u8]) -> Headers {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes")) as usize;
    let count = word(0);
    let mut at = 4 + count * 8;
    let mut take = |size: usize| {
        let part = String::from_utf8_lossy(&bytes[at..at + size]).into_owned();
        at += size + 1;
        part
    };
    (0..count)
        .map(|n| (take(word(4 + n * 8)), take(word(8 + n * 8))))
        .collect()
}

fn property(host: &mut Host, path: &str) -> Option<Vec<u8>> {
    let exchange = host.data_mut().exchange()?;
    match path {
        "source\0address" => Some(exchange.address.clone().into_bytes()),
        _ => exchange
            .filter_state
            .get(path)
            .map(|value| value.clone().into_bytes()),
    }
}

macro_rules! define {
    ($linker:ident, $($name:literal => $function:expr;)*) => {
        $($linker.func_wrap("env", $name, $function).expect("a function that is defined once");)*
    };
}

pub fn define(linker: &mut Linker<State>) {
    define! { linker,
        "proxy_log" => |mut host: Host, _level: u32, data: u32, size: u32| -> u32 {
            let line = text(&host, data, size);
            host.data_mut().log.push(line);
            OK
        };
        "proxy_get_current_time_nanoseconds" => |mut host: Host, time: u32| -> u32 {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
            write(&mut host, time, &(now.as_nanos() as u64).to_le_bytes());
            OK
        };
        "proxy_set_tick_period_milliseconds" => |mut host: Host, millis: u32| -> u32 {
            let period = Duration::from_millis(millis.into());
            let root = host.data().root();
            let ticks = &mut host.data_mut().ticks;
            match millis {
                0 => ticks.remove(&root),
                _ => ticks.insert(root, (period, Instant::now() + period)),
            };
            OK
        };
        "proxy_set_effective_context" => |mut host: Host, context: u32| -> u32 {
            if !host.data().roots.contains_key(&context) {
                return BAD_ARGUMENT;
            }
            host.data_mut().effective = context;
            OK
        };
        "proxy_continue_stream" => |mut host: Host, _stream: u32| -> u32 {
            match host.data_mut().exchange() {
                Some(exchange) => exchange.resumed = true,
                None => return BAD_ARGUMENT,
            }
            OK
        };
        // As in Envoy, the context is deleted before this returns.
        // source: envoy `source/extensions/common/wasm/context.cc` (closeStream, onEvent, onCloseTCP)
        "proxy_close_stream" => |mut host: Host, _stream: u32| -> u32 {
            let context = host.data().context();
            host.data_mut().closed.push(context);
            let delete = host.get_export("proxy_on_delete").and_then(|export| export.into_func());
            let delete = delete.and_then(|f| f.typed::<u32, ()>(&host).ok()).expect("a callback");
            delete.call(&mut host, context).expect("a VM that may be called again");
            OK
        };
        "proxy_send_local_response" => |mut host: Host, status: u32, _details: u32, _details_size: u32, body: u32,
                body_size: u32, headers: u32, headers_size: u32, grpc_status: i32| -> u32 {
            let body = text(&host, body, body_size);
            let mut headers = parse(&read(&host, headers, headers_size).expect("an address in memory"));
            let Some(exchange) = host.data_mut().exchange() else { return BAD_ARGUMENT };
            // As in Envoy, gRPC requests get only the gRPC status, and others only the HTTP status.
            let is_grpc = value(&exchange.request, "content-type")
                .is_some_and(|kind| kind == "application/grpc" || kind.starts_with("application/grpc+"));
            let status = match is_grpc && grpc_status >= 0 {
                true => {
                    headers.push(("grpc-status".to_owned(), grpc_status.to_string()));
                    200
                }
                false => status,
            };
            exchange.local = Some(LocalReply { status, headers, body });
            OK
        };
        "proxy_get_header_map_pairs" => |mut host: Host, map: u32, data: u32, size: u32| -> u32 {
            match headers_of(&mut host, map).map(|headers| serialize(headers)) {
                Some(bytes) => give(&mut host, &bytes, data, size),
                None => BAD_ARGUMENT,
            }
        };
        "proxy_replace_header_map_value" => |mut host: Host, map: u32, name: u32, name_size: u32, value: u32,
                value_size: u32| -> u32 {
            let (name, value) = (text(&host, name, name_size), text(&host, value, value_size));
            match headers_of(&mut host, map) {
                Some(headers) => {
                    headers.retain(|(known, _)| *known != name);
                    headers.push((name, value));
                }
                None => return BAD_ARGUMENT,
            }
            OK
        };
        "proxy_add_header_map_value" => |mut host: Host, map: u32, name: u32, name_size: u32, value: u32,
                value_size: u32| -> u32 {
            let header = (text(&host, name, name_size), text(&host, value, value_size));
            match headers_of(&mut host, map) {
                Some(headers) => headers.push(header),
                None => return BAD_ARGUMENT,
            }
            OK
        };
        "proxy_remove_header_map_value" => |mut host: Host, map: u32, name: u32, name_size: u32| -> u32 {
            let name = text(&host, name, name_size);
            match headers_of(&mut host, map) {
                Some(headers) => headers.retain(|(known, _)| *known != name),
                None => return BAD_ARGUMENT,
            }
            OK
        };
        "proxy_get_property" => |mut host: Host, path: u32, path_size: u32, data: u32, size: u32| -> u32 {
            let path = text(&host, path, path_size);
            match property(&mut host, &path) {
                Some(value) => give(&mut host, &value, data, size),
                None => NOT_FOUND,
            }
        };
        "proxy_set_property" => |mut host: Host, path: u32, path_size: u32, value: u32, value_size: u32| -> u32 {
            let (path, value) = (text(&host, path, path_size), text(&host, value, value_size));
            match host.data_mut().exchange() {
                Some(exchange) => exchange.filter_state.insert(path, value),
                None => return BAD_ARGUMENT,
            };
            OK
        };
        "proxy_define_metric" => |mut host: Host, _kind: u32, name: u32, name_size: u32, id: u32| -> u32 {
            let name = text(&host, name, name_size);
            let metrics = &mut host.data_mut().metrics;
            let known = metrics.iter().position(|(known, _)| *known == name);
            let at = known.unwrap_or_else(|| {
                metrics.push((name, 0));
                metrics.len() - 1
            });
            write_u32(&mut host, id, at as u32);
            OK
        };
        "proxy_increment_metric" => |mut host: Host, id: u32, by: i64| -> u32 {
            host.data_mut().metrics[id as usize].1 += by;
            OK
        };
        "proxy_record_metric" => |mut host: Host, id: u32, value: u64| -> u32 {
            host.data_mut().metrics[id as usize].1 = value as i64;
            OK
        };
        "proxy_get_shared_data" => |mut host: Host, name: u32, name_size: u32, data: u32, size: u32, cas: u32| -> u32 {
            let name = read(&host, name, name_size).expect("an address in memory");
            let Some((value, version)) = host.data().shared.get(&name).cloned() else {
                return NOT_FOUND;
            };
            write_u32(&mut host, cas, version);
            give(&mut host, &value, data, size)
        };
        "proxy_set_shared_data" => |mut host: Host, name: u32, name_size: u32, value: u32, size: u32, cas: u32| -> u32 {
            let name = read(&host, name, name_size).expect("an address in memory");
            let value = read(&host, value, size).expect("an address in memory");
            let entry = host.data_mut().shared.entry(name).or_default();
            if cas != 0 && cas != entry.1 {
                return CAS_MISMATCH;
            }
            *entry = (value, entry.1 + 1);
            OK
        };
        "proxy_get_buffer_bytes" => |mut host: Host, kind: u32, start: u32, size: u32, data: u32, got: u32| -> u32 {
            let bytes = match kind {
                PLUGIN_CONFIGURATION => host.data().configuration.clone(),
                REDIS_CALL_RESPONSE => host.data().reply.clone().expect("read within the callback, and not else"),
                other => panic!("buffer {other}"),
            };
            let part: Vec<u8> = bytes.into_iter().skip(start as usize).take(size as usize).collect();
            give(&mut host, &part, data, got)
        };
        "proxy_redis_init" => |mut host: Host, service: u32, service_size: u32, username: u32, username_size: u32,
                password: u32, password_size: u32, millis: u32| -> u32 {
            let parts = [(service, service_size), (username, username_size), (password, password_size)];
            let parts = parts.map(|(at, size)| read(&host, at, size));
            let [Some(service), Some(username), Some(password)] = parts else { return BAD_MEMORY };
            let [service, username, password] = [service, username, password].map(|part| String::from_utf8(part).expect("text"));
            redis_init(host.data_mut(), service, username, password, Duration::from_millis(millis.into()))
        };
        "proxy_redis_call" => |mut host: Host, service: u32, service_size: u32, query: u32, query_size: u32,
                token: u32| -> u32 {
            let (service, query) = (read(&host, service, service_size), read(&host, query, query_size));
            let (Some(service), Some(query)) = (service, query) else { return BAD_MEMORY };
            match redis_call(host.data_mut(), &String::from_utf8(service).expect("text"), &query) {
                Ok(number) => {
                    write_u32(&mut host, token, number);
                    OK
                }
                Err(status) => status,
            }
        };
    }
}

fn redis_init(
    state: &mut State,
    service: String,
    username: String,
    password: String,
    timeout: Duration,
) -> u32 {
    assert!(
        state.reply.is_none(),
        "credentials were sent while a reply is handled: the client would close the connection that it reads from"
    );
    let (cluster, parameters) = service.split_once('?').unwrap_or((&service, ""));
    let status = match (state.unimplemented, state.clusters.get_mut(cluster)) {
        (true, _) => UNIMPLEMENTED,
        (false, None) => BAD_ARGUMENT,
        (false, Some(cluster)) => {
            cluster.initialize(parameters, &username, &password, timeout, &mut state.events);
            OK
        }
    };
    state.inits.push(Init {
        service,
        username,
        password,
        timeout,
        status,
    });
    status
}

fn redis_call(state: &mut State, service: &str, query: &[u8]) -> Result<u32, u32> {
    assert!(
        is_one_command(query),
        "more or less than one command: {}",
        query.escape_ascii()
    );
    let cluster = service.split('?').next().unwrap_or_default();
    let cluster = state.clusters.get_mut(cluster).ok_or(BAD_ARGUMENT)?;
    state.tokens += 4;
    let token = state.tokens;
    if !cluster.send(token, query, &mut state.events) {
        return Err(INTERNAL_FAILURE);
    }
    let root = state.root();
    state.callers.insert(token, root);
    Ok(token)
}

/// Functions that the module imports and must not call.
pub fn define_rest(linker: &mut Linker<State>, module: &Module) {
    for import in module.imports() {
        let ExternType::Func(signature) = import.ty() else {
            continue;
        };
        let name = import.name().to_owned();
        let unused = move |_: Host, _: &[Val], _: &mut [Val]| -> Result<(), wasmi::Error> {
            Err(wasmi::Error::new(format!("{name} is not to be called")))
        };
        // functions that are defined already are kept
        let _defined = linker.func_new(import.module(), import.name(), signature.clone(), unused);
    }
}

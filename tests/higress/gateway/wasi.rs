//! The WASI functions that a Rust module uses.

use super::abi::{memory, write, write_u32};
use super::state::State;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use wasmi::{Caller, Linker};

const WASI: &str = "wasi_snapshot_preview1";

pub fn define(linker: &mut Linker<State>) {
    let defined = "a function that is defined once";
    linker
        .func_wrap(
            WASI,
            "random_get",
            |mut caller: Caller<State>, data: u32, size: u32| -> u32 {
                let bytes: Vec<u8> = (0..size).map(|n| RandomState::new().hash_one(n) as u8).collect();
                write(&mut caller, data, &bytes);
                0
            },
        )
        .expect(defined);
    linker
        .func_wrap(
            WASI,
            "environ_sizes_get",
            |mut caller: Caller<State>, count: u32, size: u32| -> u32 {
                let environment = &caller.data().environment;
                let bytes: usize = environment.iter().map(|entry| entry.len() + 1).sum();
                let number = environment.len() as u32;
                write_u32(&mut caller, count, number);
                write_u32(&mut caller, size, bytes as u32);
                0
            },
        )
        .expect(defined);
    linker
        .func_wrap(
            WASI,
            "environ_get",
            |mut caller: Caller<State>, mut pointers: u32, mut data: u32| -> u32 {
                for entry in caller.data().environment.clone() {
                    write_u32(&mut caller, pointers, data);
                    write(&mut caller, data, format!("{entry}\0").as_bytes());
                    pointers += 4;
                    data += entry.len() as u32 + 1;
                }
                0
            },
        )
        .expect(defined);
    linker
        .func_wrap(
            WASI,
            "clock_time_get",
            |mut caller: Caller<State>, clock: u32, _: u64, time: u32| -> u32 {
                static START: OnceLock<Instant> = OnceLock::new();
                let now = match clock {
                    0 => SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970"),
                    _ => START.get_or_init(Instant::now).elapsed(),
                };
                write(&mut caller, time, &(now.as_nanos() as u64).to_le_bytes());
                0
            },
        )
        .expect(defined);
    linker
        .func_wrap(
            WASI,
            "fd_write",
            |mut caller: Caller<State>, _: u32, list: u32, count: u32, written: u32| -> u32 {
                let mut total = 0;
                for n in 0..count {
                    let mut pair = [0; 8];
                    memory(&caller)
                        .read(&caller, (list + n * 8) as usize, &mut pair)
                        .expect("a vector");
                    let [data, size] =
                        [0, 4].map(|at| u32::from_le_bytes(pair[at..at + 4].try_into().expect("4 bytes")));
                    let mut bytes = vec![0; size as usize];
                    memory(&caller)
                        .read(&caller, data as usize, &mut bytes)
                        .expect("bytes");
                    caller
                        .data_mut()
                        .log
                        .push(String::from_utf8_lossy(&bytes).into_owned());
                    total += size;
                }
                write_u32(&mut caller, written, total);
                0
            },
        )
        .expect(defined);
    linker
        .func_wrap(WASI, "proc_exit", |code: u32| -> Result<(), wasmi::Error> {
            Err(wasmi::Error::new(format!("exit {code}")))
        })
        .expect(defined);
}

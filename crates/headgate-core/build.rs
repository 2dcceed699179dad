//! Readies the counting script for the module: its text without comments and spaces, the names of its locals short,
//! and the SHA-1 of that, by which EVALSHA calls it. Lines stay lines, so that Redis's errors name those of the source.

use sha1::{Digest as _, Sha1};
use std::collections::BTreeMap;
use std::path::Path;
use std::{env, fs, io};

const SOURCE: &str = "src/script/counting.lua";

/// The scripts of releases, as this file made them: what their filters send.
const RELEASED: &str = "src/script/released";

/// What `--features drill` adds, for another body.
const NEXT_RELEASE: &str = "-- the next release\n";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed={RELEASED}");
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    let source = fs::read_to_string(SOURCE)?;
    let lines: Vec<Vec<&str>> = source.lines().map(tokens).collect();
    let short = short_names(&lines);
    let body: String = lines.iter().map(|line| packed(line, &short)).collect();
    let next = body.clone() + NEXT_RELEASE;
    let mut scripts = vec![("counting".to_owned(), body), ("next".to_owned(), next)];
    for file in fs::read_dir(RELEASED)? {
        let path = file?.path();
        let release = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        scripts.push((release.unwrap_or_default(), fs::read_to_string(&path)?));
    }
    for (name, body) in scripts {
        fs::write(Path::new(&out).join(format!("{name}.sha1")), sha1_hex(&body))?;
        fs::write(Path::new(&out).join(format!("{name}.lua")), body)?;
    }
    Ok(())
}

/// A line's words, numbers, strings and signs, without its comment. The script's strings are in single quotes, without
/// escaped ones.
fn tokens(line: &str) -> Vec<&str> {
    let mut list = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next().filter(|_| !rest.starts_with("--")) {
        let length = match first {
            '\'' => rest[1..].find('\'').expect("a string ends on its line") + 2,
            '0'..='9' => rest
                .find(|next| !is_wordy(next) && next != '.')
                .unwrap_or(rest.len()),
            _ if is_wordy(first) => rest.find(|next| !is_wordy(next)).unwrap_or(rest.len()),
            '.' if rest.starts_with("..") => 2,
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        list.push(token);
        rest = after.trim_start();
    }
    list
}

fn is_wordy(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// Names of one letter for the locals that are written most, of two for the others; each its own throughout, so that
/// what a name means stays. `call` is left: it is short, and what people look for.
fn short_names<'s>(lines: &[Vec<&'s str>]) -> BTreeMap<&'s str, String> {
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    let words = || lines.iter().flat_map(|line| names(line));
    for line in lines {
        for (at, _) in line
            .iter()
            .enumerate()
            .filter(|(_, token)| ["local", "for"].contains(token))
        {
            let declared = line[at + 1..].chunks(2).map_while(|pair| match pair {
                [name, ","] => Some((name, true)),
                [name, ..] => Some((name, false)),
                [] => None,
            });
            for (name, has_next) in declared {
                uses.insert(name, words().filter(|word| word == name).count());
                if !has_next {
                    break;
                }
            }
        }
    }
    uses.remove("call");
    let kept: Vec<&str> = words().filter(|word| !uses.contains_key(word)).collect();
    let letters = || ('a'..='z').chain('A'..='Z');
    let pairs = letters().flat_map(|first| letters().map(move |second| format!("{first}{second}")));
    let free = letters()
        .map(String::from)
        .chain(pairs)
        .filter(|name| !kept.contains(&name.as_str()));
    let mut by_use: Vec<&str> = uses.keys().copied().collect();
    by_use.sort_by_key(|name| std::cmp::Reverse(uses[name]));
    by_use.into_iter().zip(free).collect()
}

/// The words that are no field's name.
fn names<'l, 's>(line: &'l [&'s str]) -> impl Iterator<Item = &'s str> + 'l {
    let fields = line
        .windows(2)
        .filter(|pair| pair[0] == ".")
        .map(|pair| pair[1].as_ptr());
    let fields: Vec<*const u8> = fields.collect();
    let is_name = move |token: &&str| token.starts_with(is_wordy) && !fields.contains(&token.as_ptr());
    line.iter().copied().filter(is_name)
}

/// The line with short names, and with spaces only where two tokens would become one.
fn packed(line: &[&str], short: &BTreeMap<&str, String>) -> String {
    let mut out = String::new();
    let mut before = "";
    for token in line {
        let text = short
            .get(token)
            .filter(|_| before != ".")
            .map_or(*token, String::as_str);
        if let (Some(end), Some(start)) = (out.chars().next_back(), text.chars().next()) {
            let become_one = match (end, start) {
                ('-', '-') | ('[', '[') | ('.', '0'..='9') | ('0'..='9', '.') => true,
                _ => is_wordy(end) && is_wordy(start),
            };
            if become_one {
                out.push(' ');
            }
        }
        out.push_str(text);
        before = token;
    }
    out + "\n"
}

fn sha1_hex(text: &str) -> String {
    Sha1::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

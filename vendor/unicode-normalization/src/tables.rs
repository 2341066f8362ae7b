//! NFKC by tables: characters are taken apart, marks put in order, and what belongs together put together again.

use std::collections::HashMap;
use std::sync::LazyLock;

static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables::new(include_str!("tables.txt")));

// Hangul syllables are made of a leading consonant, a vowel and perhaps a trailing consonant.
const SYLLABLES: u32 = 0xAC00;
const LEADING: u32 = 0x1100;
const VOWELS: u32 = 0x1161;
const TRAILING: u32 = 0x11A7;
const N_LEADING: u32 = 19;
const N_VOWELS: u32 = 21;
const N_TRAILING: u32 = 28;
const N_SYLLABLES: u32 = N_LEADING * N_VOWELS * N_TRAILING;

#[derive(Default)]
struct Tables {
    decompositions: HashMap<char, Vec<char>>,
    classes: HashMap<char, u8>,
    compositions: HashMap<(char, char), char>,
}

impl Tables {
    fn new(text: &str) -> Self {
        let mut tables = Tables::default();
        let mut section = "";
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if line.starts_with('[') {
                section = line;
                continue;
            }
            let mut words = line.split(' ');
            let (first, last) = {
                let word = words.next().unwrap_or_default();
                word.split_once('-').unwrap_or((word, word))
            };
            let range = number(first)..=number(last);
            let rest: Vec<u32> = words.map(number).collect();
            match (section, &rest[..]) {
                ("[decompositions]", [becomes]) => {
                    for (n, from) in (0..).zip(range) {
                        tables.decompose(from, &[becomes + n]);
                    }
                }
                ("[decompositions]", parts) => tables.decompose(*range.start(), parts),
                ("[classes]", [class]) => {
                    let class = u8::try_from(*class).unwrap_or_default();
                    let all = range.filter_map(char::from_u32);
                    tables.classes.extend(all.map(|one| (one, class)));
                }
                (_, [second, becomes]) => {
                    let characters = [*range.start(), *second, *becomes].map(char::from_u32);
                    if let [Some(first), Some(second), Some(becomes)] = characters {
                        tables.compositions.insert((first, second), becomes);
                    }
                }
                _ => {}
            }
        }
        tables
    }

    fn decompose(&mut self, from: u32, parts: &[u32]) {
        if let Some(from) = char::from_u32(from) {
            let parts = parts.iter().copied().filter_map(char::from_u32);
            self.decompositions.insert(from, parts.collect());
        }
    }

    fn class(&self, one: char) -> u8 {
        self.classes.get(&one).copied().unwrap_or_default()
    }

    fn composed(&self, first: char, second: char) -> Option<char> {
        let (one, other) = (u32::from(first), u32::from(second));
        let leading = one.wrapping_sub(LEADING);
        let vowel = other.wrapping_sub(VOWELS);
        if leading < N_LEADING && vowel < N_VOWELS {
            return char::from_u32(SYLLABLES + (leading * N_VOWELS + vowel) * N_TRAILING);
        }
        let syllable = one.wrapping_sub(SYLLABLES);
        let trailing = other.wrapping_sub(TRAILING);
        let is_open = syllable < N_SYLLABLES && syllable % N_TRAILING == 0;
        if is_open && (1..N_TRAILING).contains(&trailing) {
            return char::from_u32(one + trailing);
        }
        self.compositions.get(&(first, second)).copied()
    }
}

fn number(word: &str) -> u32 {
    u32::from_str_radix(word, 16).unwrap_or(u32::MAX)
}

pub(crate) fn normalized(text: &str) -> Vec<char> {
    let tables = &*TABLES;
    let mut found: Vec<char> = Vec::with_capacity(text.len());
    for one in text.chars() {
        let syllable = u32::from(one).wrapping_sub(SYLLABLES);
        if syllable < N_SYLLABLES {
            let trailing = syllable % N_TRAILING;
            let parts = [
                LEADING + syllable / (N_VOWELS * N_TRAILING),
                VOWELS + syllable / N_TRAILING % N_VOWELS,
                TRAILING + trailing,
            ];
            let n_parts = if trailing == 0 { 2 } else { 3 };
            found.extend(parts[..n_parts].iter().copied().filter_map(char::from_u32));
        } else if let Some(parts) = tables.decompositions.get(&one) {
            found.extend(parts);
        } else {
            found.push(one);
        }
    }
    // Marks of different classes stand in the order of these; the sort keeps others where they are.
    let mut rest = &mut found[..];
    while let Some(at) = rest.iter().position(|one| tables.class(*one) != 0) {
        rest = &mut rest[at..];
        let is_mark = |one: &char| tables.class(*one) != 0;
        let n_marks = rest.iter().take_while(|one| is_mark(one)).count();
        let (marks, after) = rest.split_at_mut(n_marks);
        marks.sort_by_key(|one| tables.class(*one));
        rest = after;
    }
    composed(tables, &found)
}

fn composed(tables: &Tables, parts: &[char]) -> Vec<char> {
    let mut found: Vec<char> = Vec::with_capacity(parts.len());
    // The last one that marks may join, and the class of what stands between.
    let mut starter: Option<usize> = None;
    let mut last_class: Option<u8> = None;
    for &one in parts {
        let class = tables.class(one);
        if let Some(at) = starter
            && last_class.is_none_or(|last| last < class)
            && let Some(joined) = tables.composed(found[at], one)
        {
            found[at] = joined;
            continue;
        }
        if class == 0 {
            starter = Some(found.len());
            last_class = None;
        } else {
            last_class = Some(class);
        }
        found.push(one);
    }
    found
}

//! Which values use the same memory: pieces of it, where they overlap, and the sets of values that this joins.

use rustc_hash::FxHashMap;

/// The smallest index in the same set.
pub(crate) fn find(parents: &mut [usize], mut index: usize) -> usize {
    while parents[index] != index {
        parents[index] = parents[parents[index]];
        index = parents[index];
    }
    index
}

pub(crate) fn join(parents: &mut [usize], a: usize, b: usize) {
    let (a, b) = (find(parents, a), find(parents, b));
    parents[a.max(b)] = a.min(b);
}

/// Memory that a value uses: from where to where, whose frame's it is (0: a plain array), and which value that is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) holder: usize,
    pub(crate) position: usize,
}

pub(crate) fn span(&(start, len, holder): &(usize, usize, usize), position: usize) -> Span {
    Span {
        start,
        end: start + len,
        holder,
        position,
    }
}

/// The same memory in order, in as few pieces as there are holders side by side: columns of one frame may interleave.
pub(crate) fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| span.end > span.start);
    spans.sort_unstable();
    let mut newest: FxHashMap<(usize, usize), usize> = FxHashMap::default();
    let mut found: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match newest.get(&(span.holder, span.position)) {
            Some(index) if span.start <= found[*index].end => {
                found[*index].end = found[*index].end.max(span.end);
            }
            _ => {
                newest.insert((span.holder, span.position), found.len());
                found.push(span);
            }
        }
    }
    found
}

/// Pairs that have memory in common, of pieces in order of where they begin.
pub(crate) fn overlaps(spans: Vec<Span>) -> impl Iterator<Item = (Span, Span)> {
    let n_spans = spans.len();
    (0..n_spans).flat_map(move |index| {
        let one = spans[index];
        let later: Vec<Span> = spans[index + 1..]
            .iter()
            .copied()
            .take_while(|other| other.start < one.end)
            .collect();
        later.into_iter().map(move |other| (one, other))
    })
}

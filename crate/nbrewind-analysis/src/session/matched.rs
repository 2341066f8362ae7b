//! Which runs belong to which cell on the page: by id, and where ids are of no use, by text.

use crate::CellInput;
use crate::memo::Text;
use crate::verdict::RunInput;
use rustc_hash::FxHashMap as HashMap;
use std::rc::Rc;

/// Which runs belong to which cell on the page.
#[derive(Default)]
pub(crate) struct Matched {
    /// For every run, the cell on the page that it was a run of.
    pub page_of_run: Vec<Option<usize>>,
    /// For every cell, its last run that is part of the state.
    pub last: Vec<Option<usize>>,
    /// For every cell, its last run that was undone.
    pub last_undone: Vec<Option<usize>>,
    /// The first cell of every id.
    pub place_of: HashMap<String, usize>,
    /// The texts on the page had a say: copies that share an id, cells whose id is new.
    pub depends_on_texts: bool,
}

impl Matched {
    pub(super) fn new(
        cells: &[CellInput],
        page: &[Rc<Text>],
        runs: &[RunInput],
        texts: &[Rc<Text>],
    ) -> Self {
        let mut depends_on_texts = false;
        // Those of one id stand together, in the order in which they ran.
        let mut by_id: Vec<(&str, usize)> = Vec::with_capacity(runs.len());
        by_id.extend(runs.iter().enumerate().map(|(at, run)| (&*run.cell, at)));
        by_id.retain(|(id, _)| !id.is_empty());
        by_id.sort_unstable();
        let runs_of: Vec<(&str, Vec<usize>)> = by_id
            .chunk_by(|(one, _), (other, _)| one == other)
            .map(|own| (own[0].0, own.iter().map(|(_, run)| *run).collect()))
            .collect();
        let has_run = |id: &str| {
            runs_of
                .binary_search_by(|(known, _)| (*known).cmp(id))
                .is_ok()
        };
        let mut cells_of: HashMap<&str, Vec<usize>> = HashMap::default();
        for (at, cell) in cells.iter().enumerate() {
            cells_of.entry(&cell.id).or_default().push(at);
        }
        let mut page_of_run = vec![None; runs.len()];
        for (id, own) in &runs_of {
            match cells_of.get(id).map(|found| &found[..]) {
                Some([only]) => own.iter().for_each(|&run| page_of_run[run] = Some(*only)),
                Some(copies) => {
                    depends_on_texts = true;
                    share_out(copies, own, page, texts, &mut page_of_run);
                }
                None => {}
            }
        }
        // A cell that was cut and pasted, or went through another tool, has a new id and the text that ran last.
        let mut adopted: Vec<bool> = page.iter().map(|text| text.is_blank()).collect();
        for (id, own) in &runs_of {
            let Some(last) = own.iter().rfind(|run| !runs[**run].undone) else {
                continue;
            };
            if cells_of.contains_key(id) {
                continue;
            }
            depends_on_texts = true;
            let heir = (0..cells.len()).find(|&at| {
                !adopted[at] && !has_run(&cells[at].id) && page[at].is_same(&texts[*last])
            });
            if let Some(heir) = heir {
                adopted[heir] = true;
                own.iter().for_each(|&run| page_of_run[run] = Some(heir));
            }
        }
        let mut last = vec![None; cells.len()];
        let mut last_undone = vec![None; cells.len()];
        for (run, page) in page_of_run.iter().enumerate() {
            if let Some(page) = *page {
                let list = if runs[run].undone {
                    &mut last_undone
                } else {
                    &mut last
                };
                list[page] = Some(run);
            }
        }
        Matched {
            page_of_run,
            last,
            last_undone,
            place_of: cells_of
                .iter()
                .map(|(id, places)| ((*id).to_owned(), places[0]))
                .collect(),
            depends_on_texts,
        }
    }
}

/// Copies of a cell share an id: every run goes to the copy that has its text, one to each as far as they go, and what
/// is left to the first copy that matched nothing.
fn share_out(
    copies: &[usize],
    own: &[usize],
    page: &[Rc<Text>],
    texts: &[Rc<Text>],
    page_of_run: &mut [Option<usize>],
) {
    let mut has_run = vec![false; copies.len()];
    let mut is_shared = vec![false; copies.len()];
    for (at, &copy) in copies.iter().enumerate() {
        if is_shared[at] {
            continue;
        }
        let equal: Vec<usize> = (at..copies.len())
            .filter(|&other| page[copies[other]].is_same(&page[copy]))
            .collect();
        let matching: Vec<usize> = own
            .iter()
            .copied()
            .filter(|&run| texts[run].is_same(&page[copy]))
            .collect();
        // The last runs are the copies' own; older ones are the first copy's.
        let n_older = matching.len().saturating_sub(equal.len());
        for (nth, &run) in matching.iter().enumerate() {
            let taker = equal[nth.saturating_sub(n_older).min(equal.len() - 1)];
            page_of_run[run] = Some(copies[taker]);
            has_run[taker] = true;
        }
        equal.iter().for_each(|&other| is_shared[other] = true);
    }
    let heir = has_run.iter().position(|has_run| !has_run).unwrap_or(0);
    for &run in own {
        page_of_run[run] = page_of_run[run].or(Some(copies[heir]));
    }
}

//! The picture of a dataflow graph: the page from top to bottom, and beside it a lane for every cell that others need.
//!
//! A lane leaves its cell, runs down the side and ends at the last cell that takes something from it; where it turns off
//! to a cell there is an arrow. Lanes that do not overlap share a place, short ones are near the page. So the picture
//! grows with the page in height alone, and a page of 30 cells can be read.

use std::fmt::Write as _;

/// One cell.
pub(crate) struct DrawnCell<'a> {
    /// 1-based place on the page.
    pub position: usize,
    pub line: &'a str,
}

/// What passes from one cell to another, by their places in the list.
pub(crate) struct DrawnEdge<'a> {
    pub from: usize,
    pub to: usize,
    pub names: &'a str,
}

const MARGIN: usize = 20;
const WIDTH: usize = 420;
const HEIGHT: usize = 40;
const ROW: usize = 54;
const FIRST_LANE: usize = MARGIN + WIDTH + 30;
const LANE: usize = 15;
/// Characters that fit into a box, in the large and in the small type.
const LINE_LENGTH: usize = 50;
const NAMES_LENGTH: usize = 27;
// Dark enough on white for a thin line, and told apart by people who see few colours by their lightness, too.
const COLOURS: [&str; 7] = [
    "#1b6ca8", "#b3471d", "#3c7a2a", "#8a3f8f", "#8a6d00", "#26706f", "#5a5a5a",
];

/// A document of its own.
pub(crate) fn svg(cells: &[DrawnCell<'_>], edges: &[DrawnEdge<'_>]) -> String {
    let lanes = lanes(cells.len(), edges);
    let n_lanes = lanes.iter().flatten().max().map_or(0, |last| last + 1);
    let (width, height) = (
        FIRST_LANE + n_lanes * LANE + MARGIN,
        cells.len() * ROW + 2 * MARGIN - (ROW - HEIGHT),
    );
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" font-family=\"ui-monospace, monospace\" font-size=\"12\">\n\
         <title>Dataflow of the notebook</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for (at, cell) in cells.iter().enumerate() {
        draw_cell(&mut out, at, cell, edges);
    }
    for (from, lane) in lanes.iter().enumerate() {
        if let Some(lane) = *lane {
            draw_lane(&mut out, from, lane, cells, edges);
        }
    }
    out.push_str("</svg>\n");
    out
}

/// The lane of every cell that others need.
fn lanes(n_cells: usize, edges: &[DrawnEdge<'_>]) -> Vec<Option<usize>> {
    let mut spans: Vec<(usize, usize, usize)> = (0..n_cells)
        .filter_map(|from| {
            let ends = edges.iter().filter(|edge| edge.from == from);
            let ends = ends.map(|edge| edge.to);
            let (first, last) = (ends.clone().min()?, ends.max()?);
            Some((from, first.min(from), last.max(from)))
        })
        .collect();
    spans.sort_by_key(|&(from, first, last)| (last - first, from));
    let mut lanes = vec![None; n_cells];
    let mut taken: Vec<Vec<(usize, usize)>> = Vec::new();
    for (from, first, last) in spans {
        let is_free = |lane: &Vec<(usize, usize)>| {
            lane.iter().all(|&(begin, end)| last < begin || end < first)
        };
        let lane = taken.iter().position(is_free).unwrap_or_else(|| {
            taken.push(Vec::new());
            taken.len() - 1
        });
        taken[lane].push((first, last));
        lanes[from] = Some(lane);
    }
    lanes
}

fn top(at: usize) -> usize {
    MARGIN + at * ROW
}

fn draw_cell(out: &mut String, at: usize, cell: &DrawnCell<'_>, edges: &[DrawnEdge<'_>]) {
    let y = top(at);
    let taken = names(edges.iter().filter(|edge| edge.to == at));
    let given = names(edges.iter().filter(|edge| edge.from == at));
    let _ = write!(
        out,
        "<g><rect x=\"{MARGIN}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"5\" fill=\"#f2f5f8\" stroke=\"#9aabbb\"/>\
         <text x=\"{}\" y=\"{}\" font-weight=\"bold\" fill=\"#24405a\">{}</text>\
         <text x=\"{}\" y=\"{}\" fill=\"#1c1c1c\">{}</text>",
        MARGIN + 10,
        y + 17,
        cell.position,
        MARGIN + 40,
        y + 17,
        xml(&shortened(cell.line, LINE_LENGTH)),
    );
    for (x, arrow, names) in [
        (MARGIN + 40, "\u{2190}", taken),
        (MARGIN + 232, "\u{2192}", given),
    ] {
        if !names.is_empty() {
            let _ = write!(
                out,
                "<text x=\"{x}\" y=\"{}\" font-size=\"10\" fill=\"#4a5a68\">{arrow} {}</text>",
                y + 32,
                xml(&shortened(&names, NAMES_LENGTH)),
            );
        }
    }
    let _ = writeln!(out, "<title>{}</title></g>", xml(cell.line));
}

/// Names that pass along these edges, each once.
fn names<'a>(edges: impl Iterator<Item = &'a DrawnEdge<'a>>) -> String {
    let mut all: Vec<&str> = Vec::new();
    for name in edges.flat_map(|edge| edge.names.split(", ")) {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all.join(", ")
}

fn draw_lane(
    out: &mut String,
    from: usize,
    lane: usize,
    cells: &[DrawnCell<'_>],
    edges: &[DrawnEdge<'_>],
) {
    let side = MARGIN + WIDTH;
    let x = FIRST_LANE + lane * LANE;
    let colour = COLOURS[from % COLOURS.len()];
    let start = top(from) + HEIGHT - 7;
    for edge in edges.iter().filter(|edge| edge.from == from) {
        // Arrows into one cell are side by side.
        let mut above = edges.iter().filter(|other| other.to == edge.to);
        let nth = above.position(|other| other.from == from).unwrap_or(0);
        let end = top(edge.to) + 5 + (nth * 5).min(HEIGHT - 18);
        let title = format!(
            "{} from {} to {}",
            edge.names, cells[from].position, cells[edge.to].position
        );
        let _ = writeln!(
            out,
            "<g fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.3\"><path d=\"M{side} {start}H{}Q{x} {start} {x} {}V{}Q{x} {end} {} {end}H{}\"/>\
             <path d=\"M{} {end}l7 -3v6z\" fill=\"{colour}\" stroke=\"none\"/><title>{}</title></g>",
            x - 5,
            bend(start, end, 5),
            bend(end, start, 5),
            x - 5,
            side + 6,
            side + 1,
            xml(&title),
        );
    }
}

/// A little way from one height towards the other.
fn bend(from: usize, to: usize, by: usize) -> usize {
    if from < to { from + by } else { from - by }
}

pub(crate) fn shortened(text: &str, n_characters: usize) -> String {
    if text.chars().count() <= n_characters {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(n_characters.saturating_sub(1)).collect();
    short.push('…');
    short
}

fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Other control characters are not allowed in XML at all.
            character if character.is_control() => out.push(' '),
            character => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_that_do_not_overlap_share_a_place() {
        let edge = |from, to| DrawnEdge {
            from,
            to,
            names: "x",
        };
        let edges = [edge(0, 1), edge(2, 3), edge(0, 4), edge(3, 4)];
        // Cell 0 spans everything; the short ones are nearer to the page.
        assert_eq!(lanes(5, &edges), [Some(2), None, Some(0), Some(1), None]);
    }
}

//! The dataflow graph for people and tools: Mermaid, Graphviz, JSON and a picture that needs no other program.

use crate::notebook::{CellInput, analyze_notebook};
use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// How a graph is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GraphFormat {
    /// For Markdown.
    Mermaid,
    /// For Graphviz.
    Dot,
    /// Nodes and edges.
    Json,
    /// A picture.
    Svg,
}

/// The format has another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownFormat(pub String);

impl std::fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "graph format {:?} is not known; use mermaid, dot, json or svg",
            self.0
        )
    }
}

impl std::error::Error for UnknownFormat {}

impl std::str::FromStr for GraphFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text {
            "mermaid" => Ok(GraphFormat::Mermaid),
            "dot" => Ok(GraphFormat::Dot),
            "json" => Ok(GraphFormat::Json),
            "svg" => Ok(GraphFormat::Svg),
            other => Err(UnknownFormat(other.to_owned())),
        }
    }
}

/// Cells and the def-use edges between them; cells that share an id are one node.
struct DataflowGraph {
    graph: DiGraph<Node, String>,
}

struct Node {
    id: String,
    /// 1-based place on the page.
    position: usize,
    line: String,
}

#[derive(Serialize)]
struct JsonNode<'a> {
    id: &'a str,
    position: usize,
    line: &'a str,
}

#[derive(Serialize)]
struct JsonEdge<'a> {
    from: &'a str,
    to: &'a str,
    names: Vec<&'a str>,
}

#[derive(Serialize)]
struct JsonGraph<'a> {
    nodes: Vec<JsonNode<'a>>,
    edges: Vec<JsonEdge<'a>>,
}

/// The dataflow graph of a notebook in the given format.
pub fn graph(cells: &[CellInput], format: GraphFormat) -> String {
    let graph = DataflowGraph::new(cells);
    match format {
        GraphFormat::Mermaid => graph.mermaid(),
        GraphFormat::Dot => graph.dot(),
        GraphFormat::Json => graph.json(),
        GraphFormat::Svg => graph.svg(),
    }
}

impl DataflowGraph {
    fn new(cells: &[CellInput]) -> Self {
        let mut graph = DiGraph::new();
        let mut by_id: BTreeMap<&str, NodeIndex> = BTreeMap::new();
        for (at, cell) in cells.iter().enumerate() {
            by_id.entry(&cell.id).or_insert_with(|| {
                let lines = cell.source.lines().map(str::trim);
                let line = lines
                    .clone()
                    .find(|line| !line.is_empty() && !line.starts_with('#'))
                    .or_else(|| lines.clone().next());
                graph.add_node(Node {
                    id: cell.id.clone(),
                    position: at + 1,
                    line: line.unwrap_or_default().to_owned(),
                })
            });
        }
        let mut names: BTreeMap<(NodeIndex, NodeIndex), BTreeSet<String>> = BTreeMap::new();
        for edge in analyze_notebook(cells).edges {
            if let (Some(&from), Some(&to)) =
                (by_id.get(edge.from.as_str()), by_id.get(edge.to.as_str()))
            {
                names.entry((from, to)).or_default().insert(edge.name);
            }
        }
        for ((from, to), names) in names {
            graph.add_edge(from, to, names.into_iter().collect::<Vec<_>>().join(", "));
        }
        DataflowGraph { graph }
    }

    fn edges(&self) -> impl Iterator<Item = (&Node, &Node, &str)> {
        self.graph.edge_indices().filter_map(|edge| {
            let (from, to) = self.graph.edge_endpoints(edge)?;
            Some((
                self.graph.node_weight(from)?,
                self.graph.node_weight(to)?,
                self.graph.edge_weight(edge)?.as_str(),
            ))
        })
    }

    fn mermaid(&self) -> String {
        let escape = |text: &str| {
            text.replace('"', "&quot;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('|', "&#124;")
        };
        let mut out = String::from("flowchart TD\n");
        for node in self.graph.node_weights() {
            let _ = writeln!(
                out,
                "    c{}[\"{}: {}\"]",
                node.position,
                node.position,
                escape(&shortened(&node.line, 40))
            );
        }
        for (from, to, names) in self.edges() {
            let _ = writeln!(
                out,
                "    c{} -- \"{}\" --> c{}",
                from.position,
                escape(names),
                to.position
            );
        }
        out
    }

    fn dot(&self) -> String {
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut out = String::from(
            "digraph notebook {\n    node [shape=box, style=rounded, fontname=monospace];\n",
        );
        for node in self.graph.node_weights() {
            let _ = writeln!(
                out,
                "    c{} [label=\"{}: {}\"];",
                node.position,
                node.position,
                escape(&shortened(&node.line, 40))
            );
        }
        for (from, to, names) in self.edges() {
            let _ = writeln!(
                out,
                "    c{} -> c{} [label=\"{}\"];",
                from.position,
                to.position,
                escape(names)
            );
        }
        out.push_str("}\n");
        out
    }

    fn json(&self) -> String {
        let graph = JsonGraph {
            nodes: self
                .graph
                .node_weights()
                .map(|node| JsonNode {
                    id: &node.id,
                    position: node.position,
                    line: &node.line,
                })
                .collect(),
            edges: self
                .edges()
                .map(|(from, to, names)| JsonEdge {
                    from: &from.id,
                    to: &to.id,
                    names: names.split(", ").collect(),
                })
                .collect(),
        };
        serde_json::to_string(&graph).unwrap_or_default()
    }

    /// Layers from top to bottom: a cell stands below everything it needs.
    fn svg(&self) -> String {
        const WIDTH: f64 = 230.0;
        const HEIGHT: f64 = 46.0;
        const GAP_X: f64 = 34.0;
        const GAP_Y: f64 = 64.0;
        let mut layer = vec![0usize; self.graph.node_count()];
        // Edges go down the page, so page order is an order to settle layers in; shared ids may close a cycle, which
        // the bound on layers ends.
        for node in self.graph.node_indices() {
            let above = self
                .graph
                .neighbors_directed(node, Direction::Incoming)
                .filter(|above| *above < node);
            layer[node.index()] = above
                .map(|above| layer[above.index()] + 1)
                .max()
                .unwrap_or(0);
        }
        let mut rows: Vec<Vec<NodeIndex>> = Vec::new();
        for node in self.graph.node_indices() {
            let at = layer[node.index()];
            while rows.len() <= at {
                rows.push(Vec::new());
            }
            rows[at].push(node);
        }
        // A cell stands under the middle of what it needs, as far as its row has room.
        let mut place = vec![(0.0f64, 0.0f64); self.graph.node_count()];
        for (at, row) in rows.iter_mut().enumerate() {
            let wish = |node: NodeIndex| {
                let above: Vec<f64> = self
                    .graph
                    .neighbors_directed(node, Direction::Incoming)
                    .filter(|above| *above < node)
                    .map(|above| place[above.index()].0)
                    .collect();
                if above.is_empty() {
                    f64::MAX
                } else {
                    above.iter().sum::<f64>() / above.len() as f64
                }
            };
            let mut wishes: Vec<(f64, NodeIndex)> =
                row.iter().map(|node| (wish(*node), *node)).collect();
            wishes.sort_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
            let mut next = 20.0f64;
            for (wish, node) in wishes {
                let x = if wish == f64::MAX {
                    next
                } else {
                    wish.max(next)
                };
                place[node.index()] = (x, 20.0 + at as f64 * (HEIGHT + GAP_Y));
                next = x + WIDTH + GAP_X;
            }
        }
        let right = place.iter().map(|(x, _)| x + WIDTH).fold(0.0, f64::max) + 20.0;
        let bottom = place.iter().map(|(_, y)| y + HEIGHT).fold(0.0, f64::max) + 20.0;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{right:.0}\" height=\"{bottom:.0}\" viewBox=\"0 0 {right:.0} {bottom:.0}\" \
             role=\"img\" font-family=\"ui-monospace, monospace\" font-size=\"12\">\n\
             <title>Dataflow of the notebook</title>\n\
             <defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\">\
             <path d=\"M0 0L8 4L0 8z\" fill=\"#5a6b7b\"/></marker></defs>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        );
        let mut labels = String::new();
        for edge in self.graph.edge_indices() {
            let (Some((from, to)), Some(names)) = (
                self.graph.edge_endpoints(edge),
                self.graph.edge_weight(edge),
            ) else {
                continue;
            };
            let (start_x, start_y) = (
                place[from.index()].0 + WIDTH / 2.0,
                place[from.index()].1 + HEIGHT,
            );
            let (end_x, end_y) = (place[to.index()].0 + WIDTH / 2.0, place[to.index()].1);
            let bend = ((end_y - start_y) / 2.0).max(GAP_Y / 2.0);
            let _ = writeln!(
                out,
                "<path d=\"M{start_x:.0} {start_y:.0}C{start_x:.0} {:.0} {end_x:.0} {:.0} {end_x:.0} {end_y:.0}\" fill=\"none\" stroke=\"#5a6b7b\" marker-end=\"url(#arrow)\"><title>{} to {}: {}</title></path>",
                start_y + bend,
                end_y - bend,
                from.index() + 1,
                to.index() + 1,
                xml(names)
            );
            let _ = writeln!(
                labels,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#24405a\" stroke=\"#ffffff\" stroke-width=\"3\" paint-order=\"stroke\">{}</text>",
                (start_x + end_x) / 2.0,
                (start_y + end_y) / 2.0 + 4.0,
                xml(&shortened(names, 28))
            );
        }
        for node in self.graph.node_indices() {
            let Some(weight) = self.graph.node_weight(node) else {
                continue;
            };
            let (x, y) = place[node.index()];
            let _ = writeln!(
                out,
                "<g><rect x=\"{x:.0}\" y=\"{y:.0}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\" fill=\"#eef3f8\" stroke=\"#8aa0b4\"/>\
                 <text x=\"{:.0}\" y=\"{:.0}\" font-weight=\"bold\" fill=\"#24405a\">[{}]</text>\
                 <text x=\"{:.0}\" y=\"{:.0}\" fill=\"#1c1c1c\">{}</text><title>{}</title></g>",
                x + 10.0,
                y + 18.0,
                weight.position,
                x + 10.0,
                y + 35.0,
                xml(&shortened(&weight.line, 29)),
                xml(&weight.line)
            );
        }
        out.push_str(&labels);
        out.push_str("</svg>\n");
        out
    }
}

fn shortened(text: &str, n_characters: usize) -> String {
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

//! Takes the quick way of reading numbers with a fraction out of the module: it needs ten kilobytes of powers of five,
//! which no compression makes smaller. The way that the standard library goes where the quick one cannot decide reads all
//! of them, and gives the same.

use walrus::{FunctionBuilder, FunctionId, MemoryId, Module, ValType, ir};

/// The table begins and ends so (`core::num::dec2flt`: 5^-342 and 5^308, as two halves each).
const FIRST: [u64; 2] = [0xeef4_53d6_923b_d65a, 0x113f_aa29_06a1_3b3f];
const LAST: [u64; 2] = [0x8e67_9c2f_5e44_ff8f, 0x570f_09ea_a7ea_7648];
const LENGTH: usize = (342 + 1 + 308) * 16;

/// Whether both the code and its table were found; else nothing was changed.
pub fn shrink(module: &mut Module) -> bool {
    let Some((quick, memory)) = quick_way(module) else {
        return false;
    };
    let Some((data, at)) = table(module) else {
        return false;
    };
    let value = &mut module.data.get_mut(data).value;
    value[at..at + LENGTH].fill(0);
    // `BiasedFp { m: 0, p_biased: -1 }`: it cannot decide.
    let types = [ValType::I32, ValType::I64, ValType::I64];
    let mut builder = FunctionBuilder::new(&mut module.types, &types, &[]);
    let arguments: Vec<_> = types.iter().map(|kind| module.locals.add(*kind)).collect();
    let place = |offset| ir::MemArg { align: 4, offset };
    builder
        .func_body()
        .local_get(arguments[0])
        .i64_const(0)
        .store(memory, ir::StoreKind::I64 { atomic: false }, place(0))
        .local_get(arguments[0])
        .i32_const(-1)
        .store(memory, ir::StoreKind::I32 { atomic: false }, place(8));
    let undecided = builder.local_func(arguments);
    module.funcs.get_mut(quick).kind = walrus::FunctionKind::Local(undecided);
    true
}

/// The only function that uses the table, if it is what it is known to be.
fn quick_way(module: &Module) -> Option<(FunctionId, MemoryId)> {
    let is_quick = |name: &str| name.contains("lemire") && name.contains("compute_float");
    let mut found = module
        .funcs
        .iter()
        .filter(|function| function.name.as_deref().is_some_and(is_quick));
    let (quick, None) = (found.next()?, found.next()) else {
        return None;
    };
    let kind = module.types.get(quick.ty());
    let is_known =
        kind.params() == [ValType::I32, ValType::I64, ValType::I64] && kind.results().is_empty();
    let memory = module.memories.iter().next()?.id();
    is_known.then_some((quick.id(), memory))
}

fn table(module: &Module) -> Option<(walrus::DataId, usize)> {
    let bytes = |entry: [u64; 2]| entry.map(u64::to_le_bytes).concat();
    let (first, last) = (bytes(FIRST), bytes(LAST));
    module.data.iter().find_map(|data| {
        let at = data
            .value
            .windows(first.len())
            .position(|window| window == first)?;
        let end = data.value.get(at + LENGTH - last.len()..at + LENGTH)?;
        (end == last).then_some((data.id(), at))
    })
}

/** The worker: loads the WASM and answers requests, so that analysis never holds up typing. */

import init, { Workbench } from '../../pkg/nbrewind_wasm';

import { Desk, type DeskRequest, type IWorkbench } from './desk';

const loaded = init({ module_or_path: new URL('../../pkg/nbrewind_wasm_bg.wasm', import.meta.url) });
const desk = new Desk(() => new Workbench() as IWorkbench);

self.onmessage = (event: MessageEvent<DeskRequest>) => {
  const request = event.data;
  loaded.then(
    () => self.postMessage(desk.answer(request)),
    error => self.postMessage({ id: request.id, error: `The analysis could not be loaded: ${error}` })
  );
};

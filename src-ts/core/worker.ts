/** The worker: loads the WASM and answers requests, so that analysis never holds up typing. */

import init, { Workbench } from '../../pkg/nbrewind_wasm';

import { Desk, type DeskRequest, type IWorkbench } from './desk';

const loaded = init({ module_or_path: new URL('../../pkg/nbrewind_wasm_bg.wasm', import.meta.url) });
const desk = new Desk(() => new Workbench() as IWorkbench);

// Answers come first: what is not asked for yet is done in small parts, between which requests are heard.
let isPreparing = false;
const prepare = () => {
  isPreparing = desk.prepare();
  if (isPreparing) {
    setTimeout(prepare);
  }
};

self.onmessage = (event: MessageEvent<DeskRequest>) => {
  const request = event.data;
  loaded.then(
    () => {
      self.postMessage(desk.answer(request));
      if (!isPreparing) {
        isPreparing = true;
        setTimeout(prepare);
      }
    },
    error => self.postMessage({ id: request.id, error: `The analysis could not be loaded: ${error}` })
  );
};

/**
 * The addon, or an Error that says why there is no hypervisor here.
 */
import { checkShareInfo } from '../abi/share-info.ts';
import { type Addon, loadAddon } from '../native/addon.ts';

let checked: Addon | undefined;

export function machine(): Addon {
  if (checked) return checked;
  const { addon, reason } = loadAddon();
  if (!addon) throw new Error(`trapless: no hypervisor here: ${reason}`);
  checkShareInfo(addon.shareInfoLayout);
  checked = addon;
  return addon;
}

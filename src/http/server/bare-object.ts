/**
 * Plain objects, for all that a program can tell, that bear a change of prototype.
 *
 *   const make = bareMaker(http.ServerResponse);     // undefined: not with this class
 *   const response = make(request, options);         // as new http.ServerResponse(…)
 *
 * Express changes the prototypes of every request and response. Up to Node 22 at least, V8 then
 * gives such an object a hidden class of its own with each property that is added later, and all
 * that touches it is slow (some 40 us a request in Node 20): a hidden class that comes from a change
 * of prototype takes no transitions if it is of an ordinary object with properties (Map::IsDetached).
 * Objects of C's are exempt. So one is made by the addon, and Node's constructor called on it.
 */
import { loadAddon } from '../../native/addon.ts';

type Class = new (...args: never[]) => object;
type Maker<C extends Class> = (...args: ConstructorParameters<C>) => InstanceType<C>;

let Roomy: (new () => object) | null | undefined;

/**
 * V8 counts the assignments in a constructor, run or not, and keeps as much room in the object
 * itself. With more than a dozen properties outside of it, an object becomes a dictionary.
 */
function roomy(): (new () => object) | null {
  if (Roomy !== undefined) return Roomy;
  const { addon } = loadAddon();
  if (addon?.Bare === undefined) return null;
  Roomy = class extends addon.Bare {
    [name: string]: unknown;
    constructor(never?: true) {
      super();
      if (never !== true) return;
      this.f0 = this.f1 = this.f2 = this.f3 = this.f4 = this.f5 = this.f6 = this.f7 = 0;
      this.f8 = this.f9 = this.f10 = this.f11 = this.f12 = this.f13 = this.f14 = this.f15 = 0;
      this.f16 = this.f17 = this.f18 = this.f19 = this.f20 = this.f21 = this.f22 = this.f23 = 0;
      this.f24 = this.f25 = this.f26 = this.f27 = this.f28 = this.f29 = this.f30 = this.f31 = 0;
      this.f32 = this.f33 = this.f34 = this.f35 = this.f36 = this.f37 = this.f38 = this.f39 = 0;
      this.f40 = this.f41 = this.f42 = this.f43 = this.f44 = this.f45 = this.f46 = this.f47 = 0;
    }
  };
  return Roomy;
}

export function bareMaker<C extends Class>(of: C): Maker<C> | undefined {
  const Bare = roomy();
  // A class in the strict sense cannot be called on an object that is there.
  if (Bare === null || /^class\b/.test(Function.prototype.toString.call(of))) return undefined;
  const prototype = of.prototype as object;
  const initialize = of as unknown as (this: object, ...args: unknown[]) => void;
  return (...args) => {
    const made = Object.setPrototypeOf(new Bare(), prototype);
    initialize.apply(made, args);
    return made;
  };
}

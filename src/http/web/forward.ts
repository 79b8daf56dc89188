/**
 * Makes a class of ours pass for one of the runtime's: `instanceof` holds, and whatever ours does
 * not define itself is done by a real object behind it.
 *
 *   forwardTo(NativeResponse, LightResponse, new NativeResponse(), (light) => light.real());
 */

// biome-ignore lint/suspicious/noExplicitAny: any class at all
type Class = { prototype: any };

/** `sample`: a real one. Its own symbols are where the runtime's functions look for its state. */
export function forwardTo<T>(
  native: Class,
  light: Class,
  sample: object,
  real: (light: T) => object,
): void {
  const own = light.prototype;
  for (const name of Reflect.ownKeys(native.prototype)) {
    if (Object.hasOwn(own, name)) continue;
    const described = Object.getOwnPropertyDescriptor(native.prototype, name)!;
    Object.defineProperty(own, name, forwarded(described, real));
  }
  for (const symbol of Object.getOwnPropertySymbols(sample)) {
    Object.defineProperty(own, symbol, {
      configurable: true,
      get(this: T) {
        return (real(this) as Record<symbol, unknown>)[symbol];
      },
    });
  }
  Object.setPrototypeOf(own, native.prototype);
  Object.setPrototypeOf(light, native as object);
}

function forwarded<T>(
  described: PropertyDescriptor,
  real: (light: T) => object,
): PropertyDescriptor {
  const { value, get, set } = described;
  if (typeof value === 'function') {
    const method = function (this: T, ...args: unknown[]) {
      return value.apply(real(this), args);
    };
    return { ...described, value: method };
  }
  if (get === undefined) return described;
  return {
    ...described,
    get(this: T) {
      return get.call(real(this));
    },
    set:
      set &&
      function (this: T, to: unknown) {
        set.call(real(this), to);
      },
  };
}

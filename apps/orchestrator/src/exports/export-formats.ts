// The kinds of exports. Users name a format. Behind it are a container and a form, which the engine takes separately.
import { architectureFacts, EXPORT_FORMAT_NAMES, type ExportFormat } from '#comparison';
import { engineV1, enumValue, invalidField, type EnumWord, type v1 } from '#protocol';
import { isQuantizedType, QUANTIZED_BLOCK, QUANTIZED_TYPES } from './quantizer.js';

export type { ExportFormat };
type ExportForm = EnumWord<typeof engineV1.ExportForm, 'EXPORT_FORM_'>;

interface FormatRule {
  container: engineV1.ExportContainer;
  /** The forms that the format can have. The first is the usual one. */
  forms: [ExportForm, ...ExportForm[]];
  dtypes: string[];
}

const { EXPORT_CONTAINER_GGUF: gguf, EXPORT_CONTAINER_SAFETENSORS: safetensors } = engineV1.ExportContainer;
const plainDtypes = ['bf16', 'f16', 'f32'];
const formats: Record<ExportFormat, FormatRule> = {
  'hf-remote': { container: safetensors, forms: ['compacted'], dtypes: plainDtypes },
  hf: { container: safetensors, forms: ['padded'], dtypes: plainDtypes },
  gguf: { container: gguf, forms: ['compacted', 'padded', 'masked'], dtypes: [...plainDtypes, 'q8_0', ...QUANTIZED_TYPES] },
  vllm: { container: safetensors, forms: ['blocks'], dtypes: plainDtypes },
  masked: { container: safetensors, forms: ['masked'], dtypes: plainDtypes },
};
const MULTIPLE_MAX = 1024;
const Q8_BLOCK = 32;

export interface ExportChoice {
  format: ExportFormat;
  form: ExportForm;
  /** '' for the source's own type. */
  dtype: string;
  multipleOf: number;
  engine: { container: engineV1.ExportContainer; form: engineV1.ExportForm; dtype: string };
}

/**
 * @param architecture the model's architecture, which decides the form of GGUF where the request names none
 * @throws EspalierError FIELD_UNKNOWN_VALUE, FIELD_OUT_OF_RANGE for a request that the format cannot hold
 */
export function chooseExport(
  request: Pick<v1.ExportRunRequest, 'format' | 'form' | 'dtype' | 'multipleOf'>,
  architecture: string,
): ExportChoice {
  const format = formatOf(request);
  const { container, forms, dtypes } = formats[format];
  const usual = format === 'gguf' && architectureFacts(architecture).alikeInGguf ? 'padded' : forms[0];
  const form = request.form === '' ? usual : forms.find((one) => one === request.form);
  if (form === undefined) {
    throw invalidField('FIELD_UNKNOWN_VALUE', 'form', `must be ${alternatives(forms)} in the format ${format}, is "${request.form}"`);
  }
  const { dtype } = request;
  if (dtype !== '' && !dtypes.includes(dtype)) {
    throw invalidField(
      'FIELD_UNKNOWN_VALUE',
      'dtype',
      `must be ${alternatives(dtypes)} in the format ${format}, or left out, is "${dtype}"`,
    );
  }
  if (request.multipleOf > MULTIPLE_MAX) {
    throw invalidField('FIELD_OUT_OF_RANGE', 'multiple_of', `must be from 1 to ${MULTIPLE_MAX}, is ${request.multipleOf}`);
  }
  const multipleOf = request.multipleOf === 0 ? blockOf(dtype) : request.multipleOf;
  // For a type that llama.cpp quantizes to, the engine writes the source's own type.
  const engineForm = enumValue(engineV1.ExportForm, 'EXPORT_FORM_', form);
  return { format, form, dtype, multipleOf, engine: { container, form: engineForm, dtype: isQuantizedType(dtype) ? '' : dtype } };
}

/** The number of values of a row that are stored together. */
function blockOf(dtype: string): number {
  if (dtype === 'q8_0') return Q8_BLOCK;
  return isQuantizedType(dtype) ? QUANTIZED_BLOCK : 1;
}

/** Returns the format of a request. In a request without a format, the form decides about the format. */
function formatOf({ format, form }: Pick<v1.ExportRunRequest, 'format' | 'form'>): ExportFormat {
  if (format === '') {
    if (form === '' || form === 'compacted') return 'hf-remote';
    if (form === 'masked') return 'masked';
    throw invalidField('FIELD_UNKNOWN_VALUE', 'form', `must be "compacted" or "masked" where no format is named, is "${form}"`);
  }
  const found = EXPORT_FORMAT_NAMES.find((name) => name === format);
  if (found === undefined)
    throw invalidField('FIELD_UNKNOWN_VALUE', 'format', `must be ${alternatives(EXPORT_FORMAT_NAMES)}, is "${format}"`);
  return found;
}

function alternatives(names: readonly string[]): string {
  const quoted = names.map((name) => `"${name}"`);
  return [quoted.slice(0, -1).join(', '), ...quoted.slice(-1)].filter(Boolean).join(' or ');
}

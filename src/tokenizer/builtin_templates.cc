// The templates of files that bring none.
#include "tokenizer/chat_template.h"

namespace quire {

const std::string_view kGemmaTemplate = R"({{ bos_token }}
{%- set ns = namespace(system='', expects='user') -%}
{%- for message in messages -%}
{%- set text = message['content'] | trim -%}
{%- if message['role'] == 'system' -%}
{%- if not loop.first -%}
{{ raise_exception('a system message must be the first') }}
{%- endif -%}
{%- set ns.system = text + '\n\n' -%}
{%- elif message['role'] != ns.expects -%}
{{ raise_exception('user and assistant messages must alternate, the user first') }}
{%- elif message['role'] == 'user' -%}
{{ '<start_of_turn>user\n' + ns.system + text + '<end_of_turn>\n' }}
{%- set ns.system = '' -%}
{%- set ns.expects = 'assistant' -%}
{%- else -%}
{{ '<start_of_turn>model\n' + text + '<end_of_turn>\n' }}
{%- set ns.expects = 'user' -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<start_of_turn>model\n' }}
{%- endif -%})";

const std::string_view kChatMlTemplate = R"({%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\n' }}
{%- endif -%})";

}  // namespace quire

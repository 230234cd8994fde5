#include "model/archs/architectures.h"

namespace quire {

std::span<const Architecture* const> Architectures() {
  static constexpr const Architecture* kAll[] = {&kLlamaArchitecture, &kGemma3Architecture};
  return kAll;
}

Result<std::unique_ptr<Model>> LoadModel(const ops::OpContext& context,
                                         std::shared_ptr<const GgufFile> file,
                                         const ModelLoadOptions& options) {
  QUIRE_ASSIGN_OR_RETURN(const std::string_view name, file->GetString("general.architecture"));
  std::string known;
  for (const Architecture* architecture : Architectures()) {
    if (architecture->name == name) {
      QUIRE_ASSIGN_OR_RETURN(ModelConfig config, ReadModelConfig(*file));
      return architecture->load(context, std::move(config), std::move(file), options);
    }
    known += StrCat(known.empty() ? "" : ", ", architecture->name);
  }
  return Unsupported("model: architecture '", name, "' in '", file->path(),
                     "' is not supported; these are: ", known);
}

}  // namespace quire

# nvcc reads the headers five times for each file that it compiles, which takes longer than most kernels. So the sources of kernels are
# compiled in groups, each as one file that includes them. Files of one group name their own constants and functions differently. A file
# that no group names is compiled by itself.
set(CUDA_GROUP_rows rows/add_loss_gradient rows/copy rows/embed rows/layer_loss rows/rmsnorm rows/row_parts rows/soft_cap rows/swiglu
    rows/token_loss attention/cached_attention attention/head_norm parameters/lora_dropout parameters/lora_gradient
    parameters/lora_narrow parameters/optimizer products/pack)
set(CUDA_GROUP_attention attention/attention attention/attention_backward attention/attention_operands attention/path_attention
    parameters/weight_gradient products/product products/product_f32)
set(CUDA_GROUP_tensor_cores products/product_bf16 products/product_library)

# Puts each group's file in place of its sources in a list of kernels.
function(group_kernels list folder)  # the folder stands before "kernels/" in the list, with a slash at its end
  set(sources ${${list}})
  foreach(group rows attention tensor_cores)
    set(text "")
    foreach(name IN LISTS CUDA_GROUP_${group})
      list(REMOVE_ITEM sources ${folder}kernels/${name}.cu)
      string(APPEND text "#include \"kernels/${name}.cu\"\n")
    endforeach()
    file(CONFIGURE OUTPUT groups/${group}.cu CONTENT "${text}" @ONLY)
    list(APPEND sources ${CMAKE_CURRENT_BINARY_DIR}/groups/${group}.cu)
  endforeach()
  set(${list} ${sources} PARENT_SCOPE)
endfunction()

/* A LiteRT delegate that takes the first nodes of a network, as many as its option `takes` says,
   and does nothing for them: for what is counted, not for what is computed. The structures are
   those of tensorflow/lite/c/common.h and core/c/common.h, as far as they are used. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int size; int data[]; } Ints;
typedef struct Delegate Delegate;
typedef struct Context Context;
typedef struct {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  int (*prepare)(Context *, void *);
  int (*invoke)(Context *, void *);
  const char *(*profiling_string)(const Context *, const void *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *registration_external, *async_kernel;
  uint64_t inplace_operator;
} Registration;
struct Context {
  size_t tensors_size;
  int (*get_execution_plan)(Context *, Ints **);
  void *tensors, *impl, *resize_tensor, *report_error, *add_tensors, *get_node;
  int (*replace_nodes)(Context *, Registration, const Ints *, Delegate *);
};
struct Delegate {
  void *data;
  int (*prepare)(Context *, Delegate *);
  void *copy_from, *copy_to, *free_handle;
  int64_t flags;
  void *opaque;
  int takes;
};

static int fine(Context *context, void *node) { (void)context; (void)node; return 0; }

static int prepare(Context *context, Delegate *delegate) {
  Ints *plan;
  if (context->get_execution_plan(context, &plan)) return 1;
  int count = delegate->takes < plan->size ? delegate->takes : plan->size;
  if (!count) return 0;
  Ints *mine = malloc(sizeof(Ints) + count * sizeof(int));
  mine->size = count;
  memcpy(mine->data, plan->data, count * sizeof(int));
  Registration kernel = {0};
  kernel.prepare = kernel.invoke = fine;
  kernel.custom_name = "some";
  kernel.version = 1;
  int status = context->replace_nodes(context, kernel, mine, delegate);
  free(mine);
  return status;
}

void *tflite_plugin_create_delegate(char **keys, char **values, size_t count,
                                    void (*report)(const char *)) {
  Delegate *delegate = calloc(1, sizeof *delegate);
  delegate->prepare = prepare;
  for (size_t i = 0; i < count; i++) {
    if (!strcmp(keys[i], "fail")) { report(values[i]); free(delegate); return NULL; }
    if (!strcmp(keys[i], "crash")) abort();
    if (!strcmp(keys[i], "takes")) delegate->takes = atoi(values[i]);
  }
  return delegate;
}

void tflite_plugin_destroy_delegate(void *delegate) { free(delegate); }
